package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;
import org.springframework.amqp.core.AmqpAdmin;
import org.springframework.amqp.rabbit.annotation.EnableRabbit;
import org.springframework.amqp.rabbit.annotation.Exchange;
import org.springframework.amqp.rabbit.annotation.Queue;
import org.springframework.amqp.rabbit.annotation.QueueBinding;
import org.springframework.amqp.rabbit.annotation.RabbitListener;
import org.springframework.amqp.rabbit.config.DirectRabbitListenerContainerFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.context.annotation.AnnotationConfigApplicationContext;
import org.springframework.context.annotation.Bean;
import org.springframework.context.annotation.Configuration;
import org.springframework.messaging.handler.annotation.Header;
import org.springframework.messaging.handler.annotation.SendTo;

/** An application as most are written: listeners by annotations, which declare what they need. */
class AnnotationTest extends Broker {
    private static final String NAME = unique("annotated");
    private static final LinkedBlockingQueue<String> GOT = new LinkedBlockingQueue<>();

    @Configuration
    @EnableRabbit
    static class Application {
        @Bean
        CachingConnectionFactory connections() {
            return new CachingConnectionFactory(System.getenv().getOrDefault("AMQP_HOST", "127.0.0.1"), port());
        }

        @Bean
        AmqpAdmin admin(CachingConnectionFactory connections) {
            return new RabbitAdmin(connections);
        }

        @Bean
        DirectRabbitListenerContainerFactory rabbitListenerContainerFactory(CachingConnectionFactory connections) {
            DirectRabbitListenerContainerFactory factory = new DirectRabbitListenerContainerFactory();
            factory.setConnectionFactory(connections);
            return factory;
        }

        @Bean
        String prefix() {
            return NAME;
        }

        @Bean
        Listeners listeners() {
            return new Listeners();
        }
    }

    static class Listeners {
        @RabbitListener(bindings = @QueueBinding(value = @Queue(name = "#{prefix + '.in'}", durable = "true"),
                exchange = @Exchange(name = "#{prefix}", type = "topic"), key = {"a.*", "b.#"}))
        @SendTo("#{prefix + '/out.key'}")
        public String handle(String body, @Header("number") int number) {
            return body + number;
        }

        @RabbitListener(bindings = @QueueBinding(value = @Queue, exchange = @Exchange(name = "#{prefix}", type = "topic"),
                key = "out.*"))
        public void out(String body) {
            GOT.add(body);
        }
    }

    @Test
    void fromListenerToListener() throws Exception {
        later(() -> admin.deleteExchange(NAME));
        later(() -> admin.deleteQueue(NAME + ".in"));
        try (AnnotationConfigApplicationContext context = new AnnotationConfigApplicationContext(Application.class)) {
            RabbitTemplate sender = new RabbitTemplate(context.getBean(CachingConnectionFactory.class));
            for (int number = 0; number < 10; number++) {
                int header = number;
                sender.convertAndSend(NAME, number % 2 == 0 ? "a.x" : "b.x.y", (Object) "m", message -> {
                    message.getMessageProperties().setHeader("number", header);
                    return message;
                });
            }
            for (int number = 0; number < 10; number++) {
                assertEquals("m" + number, next("reply", GOT));
            }
        }
    }
}
