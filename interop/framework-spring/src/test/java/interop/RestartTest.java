package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.Set;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.condition.EnabledIfEnvironmentVariable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpException;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Declarables;
import org.springframework.amqp.core.FanoutExchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.context.support.GenericApplicationContext;

/** An application whose broker is restarted under it. `AMQP_RESTART` is the command that does it. */
@EnabledIfEnvironmentVariable(named = "AMQP_RESTART", matches = ".+")
class RestartTest extends Broker {
    private final LinkedBlockingQueue<Message> got = new LinkedBlockingQueue<>();

    @BeforeEach
    void otherBroker() {
        connections = connect(Integer.parseInt(System.getenv("AMQP_RESTART_PORT")));
        admin = new RabbitAdmin(connections);
        template = new RabbitTemplate(connections);
    }

    private static void restart() throws Exception {
        Process process = new ProcessBuilder("sh", "-c", System.getenv("AMQP_RESTART"))
                .redirectOutput(ProcessBuilder.Redirect.DISCARD).redirectError(ProcessBuilder.Redirect.DISCARD).start();
        assertTrue(process.waitFor(60, TimeUnit.SECONDS));
        assertEquals(0, process.exitValue());
    }

    /** The template's connection may have ended with the broker; the next one is made at the next try. */
    private void send(String exchange, String key, String body) throws Exception {
        eventually("published", () -> {
            try {
                template.convertAndSend(exchange, key, body);
                return true;
            } catch (AmqpException broken) {
                return false;
            }
        });
    }

    @ParameterizedTest
    @EnumSource
    void listenersGoOn(Kind kind) throws Exception {
        String queue = queue("durable");
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMessageListener(got::add);
        start(container);
        send("", queue, "before");
        assertEquals("before", text(next("message", got)));
        restart();
        send("", queue, "after");
        assertEquals("after", text(next("message", got)));
    }

    /** What was confirmed is there after the restart, and no confirm stays open. */
    @ParameterizedTest
    @EnumSource
    void whatWasConfirmedIsThere(Kind kind) throws Exception {
        String queue = queue("confirmed");
        CachingConnectionFactory factory = connect(connections.getPort());
        factory.setPublisherConfirmType(ConfirmType.CORRELATED);
        RabbitTemplate confirming = new RabbitTemplate(factory);
        Set<String> confirmed = new HashSet<>();
        Thread restarting = new Thread(() -> {
            try {
                Thread.sleep(300);
                restart();
            } catch (Exception failed) {
                throw new IllegalStateException(failed);
            }
        });
        restarting.start();
        for (int number = 0; restarting.isAlive() && number < 100_000; number++) {
            CorrelationData data = new CorrelationData();
            try {
                confirming.convertAndSend("", queue, "m" + number, data);
            } catch (AmqpException broken) {
                Thread.sleep(50);
                continue;
            }
            if (data.getFuture().get(STEP_SECONDS, TimeUnit.SECONDS).ack()) {
                confirmed.add("m" + number);
            }
        }
        restarting.join();
        assertTrue(confirmed.size() > 1);
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMessageListener(got::add);
        start(container);
        Set<String> came = new HashSet<>();
        eventually("all that was confirmed", () -> {
            for (Message message = got.poll(); message != null; message = got.poll()) {
                came.add(text(message));
            }
            return came.containsAll(confirmed);
        });
    }

    /** A queue that ends with its connection is declared again for the container's next one. */
    @ParameterizedTest
    @EnumSource
    void whatWasNotDurableIsDeclaredAgain(Kind kind) throws Exception {
        Queue queue = new Queue(unique("exclusive"), false, true, true);
        FanoutExchange exchange = new FanoutExchange(unique("transient"), false, false);
        GenericApplicationContext context = new GenericApplicationContext();
        context.registerBean("declarables", Declarables.class,
                () -> new Declarables(queue, exchange, BindingBuilder.bind(queue).to(exchange)));
        context.registerBean("admin", RabbitAdmin.class, () -> new RabbitAdmin(connections));
        context.refresh();
        later(context::close);
        AbstractMessageListenerContainer container = container(kind, queue.getName());
        container.setAmqpAdmin(context.getBean(RabbitAdmin.class));
        container.setMissingQueuesFatal(false);
        container.setMessageListener(got::add);
        start(container);
        send(exchange.getName(), "", "before");
        assertEquals("before", text(next("message", got)));
        restart();
        eventually("after the restart", () -> {
            send(exchange.getName(), "", "after");
            Message message = got.poll(200, TimeUnit.MILLISECONDS);
            return message != null && text(message).equals("after");
        });
    }
}
