package interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.Connection;
import java.math.BigDecimal;
import java.util.Date;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Test;

/** What is published arrives as it was, and is routed by its headers. */
class ContentTest extends Broker {
    private static final List<Integer> SIZES = List.of(0, 1, 8184, 8185, 131_064, 131_065, 3_000_000);

    private static void assertSizes(Channel channel) throws Exception {
        String queue = channel.queueDeclare().getQueue();
        Inbox inbox = Inbox.of(channel, queue, true);
        Random random = new Random(5);
        for (int size : SIZES) {
            byte[] body = new byte[size];
            random.nextBytes(body);
            channel.basicPublish("", queue, null, body);
            assertArrayEquals(body, inbox.next().getBody());
        }
    }

    @Test
    void bodiesOfManyFrames() throws Exception {
        assertSizes(channel);
    }

    @Test
    void bodiesOfManySmallFrames() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedFrameMax(8192);
        try (Connection small = factory.newConnection()) {
            assertSizes(small.createChannel());
        }
    }

    @Test
    void propertiesAndHeaders() throws Exception {
        String queue = privateQueue();
        Map<String, Object> headers = new HashMap<>();
        headers.put("yes", true);
        headers.put("byte", (byte) -8);
        headers.put("short", (short) -300);
        headers.put("int", 70_000);
        headers.put("long", 1L << 40);
        headers.put("float", 0.25f);
        headers.put("double", 1.5);
        headers.put("decimal", new BigDecimal("123.45"));
        headers.put("when", new Date(1_700_000_000_000L));
        headers.put("nothing", null);
        headers.put("list", List.of(1, List.of(true)));
        headers.put("table", Map.of("in", Map.of("deep", 1)));
        BasicProperties properties = new BasicProperties.Builder().contentType("application/json").contentEncoding("gzip").headers(headers)
                .deliveryMode(2).priority(7).correlationId("correlation").replyTo("somewhere").expiration("600000").messageId("id-1")
                .timestamp(new Date(1_700_000_000_000L)).type("event").userId("guest").appId("interop").build();
        channel.basicPublish("", queue, properties, bytes("{}"));
        assertEquals(properties, Inbox.of(channel, queue, true).next().getProperties());
    }

    @Test
    void headersExchange() throws Exception {
        String exchange = unique("headers");
        channel.exchangeDeclare(exchange, BuiltinExchangeType.HEADERS, false, true, null);
        String all = privateQueue();
        String any = privateQueue();
        channel.queueBind(all, exchange, "", Map.of("x-match", "all", "format", "pdf", "pages", 2));
        channel.queueBind(any, exchange, "", Map.of("x-match", "any", "format", "pdf", "pages", 2));
        List<Map<String, Object>> published = List.of(Map.of("format", "pdf", "pages", 2), Map.of("pages", 2), Map.of("format", "zip"));
        for (int i = 0; i < published.size(); i++) {
            channel.basicPublish(exchange, "", new BasicProperties.Builder().headers(published.get(i)).build(), bytes("" + i));
        }
        assertHolds(List.of("0"), all);
        assertHolds(List.of("0", "1"), any);
    }
}
