package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.junit.jupiter.api.Test;
import org.springframework.amqp.AmqpIOException;
import org.springframework.amqp.core.AnonymousQueue;
import org.springframework.amqp.core.Binding;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Declarables;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.ExchangeBuilder;
import org.springframework.amqp.core.FanoutExchange;
import org.springframework.amqp.core.HeadersExchange;
import org.springframework.amqp.core.MessageBuilder;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.QueueInformation;
import org.springframework.amqp.core.TopicExchange;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.context.support.GenericApplicationContext;

/** RabbitAdmin: what an application declares when its connection opens, and what it asks. */
class AdminTest extends Broker {
    /** Publishing waits for nothing, so that what is asked next may not see it yet. */
    private void message(String exchange, String key, String body) {
        template.convertAndSend(exchange, key, body);
    }

    /** An application context that declares at its first connection, as every Spring Boot application does. */
    private RabbitTemplate application(Declarables declarables) {
        CachingConnectionFactory factory = connect();
        GenericApplicationContext context = new GenericApplicationContext();
        context.registerBean("declarables", Declarables.class, () -> declarables);
        context.registerBean("connections", CachingConnectionFactory.class, () -> factory);
        context.registerBean("admin", RabbitAdmin.class, () -> new RabbitAdmin(factory));
        context.refresh();
        later(context::close);
        return new RabbitTemplate(factory);
    }

    @Test
    void declarablesOfAllTypes() {
        Queue queue = QueueBuilder.durable(unique("declared")).build();
        Queue anonymous = new AnonymousQueue();
        DirectExchange direct = new DirectExchange(unique("direct"));
        TopicExchange topic = new TopicExchange(unique("topic"));
        FanoutExchange fanout = new FanoutExchange(unique("fanout"), false, true);
        HeadersExchange headers = new HeadersExchange(unique("headers"));
        later(() -> admin.deleteQueue(queue.getName()));
        for (String exchange : List.of(direct.getName(), topic.getName(), fanout.getName(), headers.getName())) {
            later(() -> admin.deleteExchange(exchange));
        }
        RabbitTemplate application = application(new Declarables(queue, anonymous, direct, topic, fanout, headers,
                BindingBuilder.bind(queue).to(direct).with("key"),
                BindingBuilder.bind(direct).to(topic).with("#.to.direct"),
                BindingBuilder.bind(anonymous).to(fanout),
                BindingBuilder.bind(queue).to(headers).whereAll(Map.of("a", 1, "b", "x")).match()));
        application.convertAndSend(direct.getName(), "key", "by direct");
        assertEquals("by direct", text(receive(queue.getName())));
        application.convertAndSend(fanout.getName(), "", "by fanout");
        assertEquals("by fanout", application.receiveAndConvert(anonymous.getName(), 5000));
        application.send(headers.getName(), "",
                MessageBuilder.withBody("by headers".getBytes()).setHeader("a", 1).setHeader("b", "x").build());
        assertEquals("by headers", text(receive(queue.getName())));
        application.send(headers.getName(), "",
                MessageBuilder.withBody("not".getBytes()).setHeader("a", 1).build());
        assertNull(template.receive(queue.getName(), 100));
    }

    @Test
    void exchangesToExchangesAndAlternates() {
        String queue = queue("bound");
        FanoutExchange lost = new FanoutExchange(unique("lost"));
        declare(lost);
        DirectExchange first = ExchangeBuilder.directExchange(unique("first")).alternate(lost.getName()).build();
        declare(first);
        TopicExchange second = ExchangeBuilder.topicExchange(unique("second")).internal().build();
        declare(second);
        String others = queue("others");
        admin.declareBinding(BindingBuilder.bind(second).to(first).with("a.b"));
        admin.declareBinding(new Binding(queue, Binding.DestinationType.QUEUE, second.getName(), "a.*", null));
        admin.declareBinding(new Binding(others, Binding.DestinationType.QUEUE, lost.getName(), "", null));
        message(first.getName(), "a.b", "through both");
        message(first.getName(), "c", "to the alternate");
        assertEquals("through both", text(receive(queue)));
        assertEquals("to the alternate", text(receive(others)));
        admin.removeBinding(new Binding(queue, Binding.DestinationType.QUEUE, second.getName(), "a.*", null));
        message(first.getName(), "a.b", "nowhere: the first exchange had a way, and the second has none");
        message(first.getName(), "c", "to the alternate again");
        assertEquals("to the alternate again", text(receive(others)));
        assertEquals(0, count(queue));
    }

    @Test
    void whatTheAdminIsTold() throws Exception {
        String queue = queue("info");
        assertNull(admin.getQueueInfo(unique("none")));
        assertNull(admin.getQueueProperties(unique("none")));
        for (int number = 0; number < 3; number++) {
            message("", queue, "m");
        }
        eventually("three messages", () -> count(queue) == 3);
        QueueInformation info = admin.getQueueInfo(queue);
        assertEquals(0, info.getConsumerCount());
        Properties properties = admin.getQueueProperties(queue);
        assertNotNull(properties);
        assertEquals(queue, properties.get(RabbitAdmin.QUEUE_NAME));
        assertEquals(3, admin.purgeQueue(queue));
        assertEquals(0, count(queue));
        admin.deleteQueue(queue, true, true);
        assertNull(admin.getQueueInfo(queue));
        assertFalse(admin.deleteExchange("amq.direct"), "amq.direct was deleted");
    }

    @Test
    void everyArgumentOfAQueue() {
        declare(QueueBuilder.durable(unique("arguments")).ttl(60_000).expires(600_000).maxLength(100L)
                .maxLengthBytes(100_000).overflow(QueueBuilder.Overflow.dropHead).deadLetterExchange("amq.direct")
                .deadLetterRoutingKey("dead").maxPriority(5).lazy()
                .build());
        declare(QueueBuilder.nonDurable(unique("transient")).exclusive().autoDelete().build());
        String quorum = declare(QueueBuilder.durable(unique("quorum")).quorum().deliveryLimit(3)
                .deadLetterExchange("").deadLetterRoutingKey("dead").build());
        message("", quorum, "in a quorum queue");
        assertEquals("in a quorum queue", text(receive(quorum)));
    }

    @Test
    void aQueueThatIsDeclaredOtherwise() {
        String queue = declare(QueueBuilder.durable(unique("same")).ttl(1000).build());
        AmqpIOException refused = assertThrows(AmqpIOException.class,
                () -> admin.declareQueue(QueueBuilder.durable(queue).ttl(2000).build()));
        assertTrue(cause(refused).contains("inequivalent arg 'x-message-ttl' for queue '" + queue + "'"), cause(refused));
        admin.setIgnoreDeclarationExceptions(true);
        assertNull(admin.declareQueue(QueueBuilder.durable(queue).ttl(2000).build()));
        assertEquals(queue, admin.declareQueue(QueueBuilder.durable(queue).ttl(1000).build()));
    }

    private static String cause(Throwable error) {
        Throwable last = error;
        while (last.getCause() != null) {
            last = last.getCause();
        }
        return String.valueOf(last.getMessage());
    }

    /** A queue that goes with its connection is declared again by the next. */
    @Test
    void whatWasLostWithAConnectionIsDeclaredAgain() {
        Queue queue = new Queue(unique("exclusive"), false, true, true);
        DirectExchange exchange = new DirectExchange(unique("exchange"), false, true);
        RabbitTemplate application =
                application(new Declarables(queue, exchange, BindingBuilder.bind(queue).to(exchange).with("key")));
        application.convertAndSend(exchange.getName(), "key", "first");
        assertEquals("first", application.receiveAndConvert(queue.getName(), 5000));
        ((CachingConnectionFactory) application.getConnectionFactory()).resetConnection();
        application.convertAndSend(exchange.getName(), "key", "second");
        assertEquals("second", application.receiveAndConvert(queue.getName(), 5000));
    }
}
