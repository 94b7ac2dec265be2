package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.GetResponse;
import com.rabbitmq.client.Return;
import java.io.IOException;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** One session with a little of everything. What this client says in it is kept as a transcript: tests/transcripts/clients. */
class SessionTest extends Broker {
    private static final String EXCHANGE = "session.java";
    private static final String QUEUE = "session.java.queue";

    /** The session has a connection of its own, and no other. */
    @Override
    void open() {
    }

    private static void confirmed(Channel channel, String key, boolean mandatory, BasicProperties properties, byte[] body) throws Exception {
        channel.basicPublish(EXCHANGE, key, mandatory, properties, body);
        assertTrue(channel.waitForConfirms(TimeUnit.SECONDS.toMillis(STEP_SECONDS)));
    }

    @Test
    void session() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedFrameMax(8192);
        try (Connection connection = factory.newConnection()) {
            Channel channel = connection.createChannel();
            channel.exchangeDeclare(EXCHANGE, "topic", true);
            channel.queueDeclare(QUEUE, true, false, false, new TreeMap<>(Map.of("x-max-length", 100, "x-queue-mode", "lazy")));
            channel.queueBind(QUEUE, EXCHANGE, "key.#");
            publish(channel);
            consume(channel);
            talkToItself(connection.createChannel());
            channel.queuePurge(QUEUE);
            channel.queueUnbind(QUEUE, EXCHANGE, "key.#");
            channel.queueDelete(QUEUE);
            channel.exchangeDelete(EXCHANGE);
            channel.close();
        }
    }

    private static void publish(Channel channel) throws Exception {
        BlockingQueue<Return> returns = new LinkedBlockingQueue<>();
        channel.addReturnListener(returns::add);
        channel.confirmSelect();
        Map<String, Object> headers = new TreeMap<>(Map.of("text", "Grüße", "number", 7, "long", 1L << 40, "yes", true, "list", List.of("a", 1),
                "table", Map.of("in", 1.5)));
        BasicProperties properties = new BasicProperties.Builder().headers(headers).contentType("text/plain").deliveryMode(2).priority(3)
                .correlationId("c1").replyTo("nobody").messageId("m1").timestamp(new Date(1_700_000_000_000L)).type("event").userId("guest")
                .appId("session").build();
        confirmed(channel, "key.1", false, properties, bytes("first"));
        confirmed(channel, "key.2", true, null, bytes("x".repeat(20_000)));
        confirmed(channel, "key.3", false, null, new byte[0]);
        confirmed(channel, "other", true, null, bytes("comes back"));
        assertEquals(312, next("return", returns).getReplyCode());
    }

    private static void consume(Channel channel) throws Exception {
        GetResponse got = channel.basicGet(QUEUE, false);
        assertEquals("first", text(got.getBody()));
        channel.basicNack(got.getEnvelope().getDeliveryTag(), false, true);
        channel.basicQos(2);
        Inbox inbox = Inbox.of(channel, QUEUE, false);
        assertTrue(inbox.next().getEnvelope().isRedeliver());
        channel.basicAck(inbox.next().getEnvelope().getDeliveryTag(), true);
        channel.basicReject(inbox.next().getEnvelope().getDeliveryTag(), false);
        channel.basicCancel(inbox.tag());
    }

    private static void talkToItself(Channel channel) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        Inbox inbox = Inbox.of(channel, queue, true);
        channel.basicPublish("", queue, null, bytes("to itself"));
        assertEquals(List.of("to itself"), inbox.bodies(1));
        assertThrows(IOException.class, () -> channel.queueDeclarePassive("session.java.none"));
    }
}
