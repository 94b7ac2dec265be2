package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.DefaultConsumer;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.Envelope;
import com.rabbitmq.client.ShutdownSignalException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Timeout;

/** What every test needs: a connection and a channel of its own, names that nobody else uses, waits that end. */
@Timeout(60)
abstract class Broker {
    /** How long one step may take. Generous: the machine may be busy. */
    static final long STEP_SECONDS = 15;

    Connection connection;
    Channel channel;
    private final List<Connection> opened = new ArrayList<>();

    @BeforeEach
    void open() throws Exception {
        connection = connect();
        channel = connection.createChannel();
    }

    @AfterEach
    void closeAll() {
        for (Connection each : opened) {
            each.abort(5000);
        }
    }

    static ConnectionFactory factory() {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost(System.getenv().getOrDefault("AMQP_HOST", "127.0.0.1"));
        factory.setPort(Integer.parseInt(System.getenv().getOrDefault("AMQP_PORT", "5672")));
        factory.setAutomaticRecoveryEnabled(false);
        factory.setHandshakeTimeout((int) TimeUnit.SECONDS.toMillis(STEP_SECONDS));
        factory.setChannelRpcTimeout((int) TimeUnit.SECONDS.toMillis(STEP_SECONDS));
        return factory;
    }

    Connection connect() throws Exception {
        Connection next = factory().newConnection();
        opened.add(next);
        return next;
    }

    static String unique(String what) {
        return "interop.java." + what + "." + Long.toHexString(UUID.randomUUID().getMostSignificantBits());
    }

    /** A server-named queue of the test's connection, gone with it. */
    String privateQueue() throws Exception {
        String queue = channel.queueDeclare("", false, true, false, null).getQueue();
        assertTrue(queue.startsWith("amq.gen-"), queue);
        return queue;
    }

    static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }

    static String text(byte[] body) {
        return new String(body, StandardCharsets.UTF_8);
    }

    void publish(String exchange, String key, String body) throws Exception {
        channel.basicPublish(exchange, key, null, bytes(body));
    }

    /** The next of a queue between threads, or a failure that names what has not come. */
    static <T> T next(String what, BlockingQueue<T> from) throws InterruptedException {
        T value = from.poll(STEP_SECONDS, TimeUnit.SECONDS);
        assertNotNull(value, "no " + what);
        return value;
    }

    /** A consumer whose deliveries are taken one by one, and whose end can be waited for. */
    static final class Inbox extends DefaultConsumer {
        final BlockingQueue<Delivery> deliveries = new LinkedBlockingQueue<>();
        final BlockingQueue<String> cancels = new LinkedBlockingQueue<>();
        final BlockingQueue<String> cancelOks = new LinkedBlockingQueue<>();
        final BlockingQueue<ShutdownSignalException> shutdowns = new LinkedBlockingQueue<>();

        /** As the broker answered; the client tells the consumer itself at some later time. */
        private String tag;

        private Inbox(Channel channel) {
            super(channel);
        }

        static Inbox of(Channel channel, String queue, boolean autoAck) throws Exception {
            Inbox inbox = new Inbox(channel);
            inbox.tag = channel.basicConsume(queue, autoAck, inbox);
            return inbox;
        }

        String tag() {
            return tag;
        }

        @Override
        public void handleDelivery(String tag, Envelope envelope, BasicProperties properties, byte[] body) {
            deliveries.add(new Delivery(envelope, properties, body));
        }

        @Override
        public void handleCancel(String tag) {
            cancels.add(tag);
        }

        @Override
        public void handleCancelOk(String tag) {
            cancelOks.add(tag);
        }

        @Override
        public void handleShutdownSignal(String tag, ShutdownSignalException signal) {
            shutdowns.add(signal);
        }

        Delivery next() throws InterruptedException {
            return Broker.next("delivery", deliveries);
        }

        List<String> bodies(int count) throws InterruptedException {
            List<String> bodies = new ArrayList<>();
            while (bodies.size() < count) {
                bodies.add(text(next().getBody()));
            }
            return bodies;
        }

        void ack(Delivery delivery) throws Exception {
            getChannel().basicAck(delivery.getEnvelope().getDeliveryTag(), false);
        }
    }

    /** Checks what the given queue holds: these bodies in this order, and then nothing else. */
    void assertHolds(List<String> expected, String queue) throws Exception {
        publish("", queue, "end");
        List<String> all = new ArrayList<>(expected);
        all.add("end");
        assertEquals(all, Inbox.of(channel, queue, true).bodies(all.size()));
    }
}
