package interop;

import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.Callable;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;
import org.springframework.amqp.core.Exchange;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.core.RabbitAdmin;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;

/** What every test needs: a connection factory, a template, an admin; names nobody else uses; waits that end. */
@Timeout(60)
abstract class Broker {
    /** How long one step may take. Generous: the machine may be busy. */
    static final long STEP_SECONDS = 20;

    CachingConnectionFactory connections;
    RabbitAdmin admin;
    RabbitTemplate template;
    private final List<AutoCloseable> opened = new ArrayList<>();

    /** The two kinds of containers that Spring has for listeners. */
    enum Kind { SIMPLE, DIRECT }

    @BeforeEach
    void open() {
        connections = connect();
        admin = new RabbitAdmin(connections);
        template = new RabbitTemplate(connections);
    }

    @AfterEach
    void close() throws Exception {
        for (int last = opened.size() - 1; last >= 0; last--) {
            opened.get(last).close();
        }
    }

    static int port() {
        return Integer.parseInt(System.getenv().getOrDefault("AMQP_PORT", "5672"));
    }

    CachingConnectionFactory connect() {
        return connect(port());
    }

    CachingConnectionFactory connect(int port) {
        CachingConnectionFactory factory =
                new CachingConnectionFactory(System.getenv().getOrDefault("AMQP_HOST", "127.0.0.1"), port);
        factory.setUsername("guest");
        factory.setPassword("guest");
        later(factory::destroy);
        return factory;
    }

    /** Is done when the test has ended, the last first. */
    void later(AutoCloseable end) {
        opened.add(end);
    }

    static String unique(String what) {
        return "interop.spring." + what + "." + Long.toHexString(UUID.randomUUID().getMostSignificantBits());
    }

    /** Declares a queue that is deleted after the test. */
    String declare(Queue queue) {
        admin.declareQueue(queue);
        later(() -> admin.deleteQueue(queue.getName()));
        return queue.getName();
    }

    String declare(Exchange exchange) {
        admin.declareExchange(exchange);
        later(() -> admin.deleteExchange(exchange.getName()));
        return exchange.getName();
    }

    String queue(String what) {
        return declare(QueueBuilder.durable(unique(what)).build());
    }

    AbstractMessageListenerContainer container(Kind kind, String... queues) {
        AbstractMessageListenerContainer container = kind == Kind.SIMPLE
                ? new SimpleMessageListenerContainer(connections)
                : new DirectMessageListenerContainer(connections);
        if (container instanceof SimpleMessageListenerContainer simple) {
            simple.setReceiveTimeout(100);
        } else if (container instanceof DirectMessageListenerContainer direct) {
            direct.setMonitorInterval(200);
        }
        container.setQueueNames(queues);
        container.setRecoveryInterval(200);
        container.setShutdownTimeout(5000);
        later(container::stop);
        return container;
    }

    void start(AbstractMessageListenerContainer container) throws Exception {
        container.afterPropertiesSet();
        container.start();
    }

    static String text(Message message) {
        return new String(message.getBody(), StandardCharsets.UTF_8);
    }

    /** The next of a queue between threads, or a failure that names what has not come. */
    static <T> T next(String what, BlockingQueue<T> from) throws InterruptedException {
        T value = from.poll(STEP_SECONDS, TimeUnit.SECONDS);
        assertNotNull(value, "no " + what);
        return value;
    }

    static <T> List<T> next(int count, String what, BlockingQueue<T> from) throws InterruptedException {
        List<T> values = new ArrayList<>();
        while (values.size() < count) {
            values.add(next(what, from));
        }
        return values;
    }

    static void eventually(String what, Callable<Boolean> condition) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(STEP_SECONDS);
        while (!condition.call()) {
            assertTrue(System.nanoTime() < deadline, "not in time: " + what);
            Thread.sleep(20);
        }
    }

    int count(String queue) {
        return (int) admin.getQueueInfo(queue).getMessageCount();
    }

    Message receive(String queue) {
        Message message = template.receive(queue, STEP_SECONDS * 1000);
        assertNotNull(message, "nothing in " + queue);
        return message;
    }
}
