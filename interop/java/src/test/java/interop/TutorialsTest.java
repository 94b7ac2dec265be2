package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.AMQP.Queue;
import com.rabbitmq.client.BuiltinExchangeType;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.MessageProperties;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The six patterns of RabbitMQ's tutorials. */
class TutorialsTest extends Broker {
    @Test
    void tutorial1Hello() throws Exception {
        String queue = unique("hello");
        Queue.DeclareOk declared = channel.queueDeclare(queue, false, false, true, null);
        assertEquals(queue, declared.getQueue());
        assertEquals(0, declared.getMessageCount());
        assertEquals(0, declared.getConsumerCount());
        publish("", queue, "Hello World!");
        Delivery message = Inbox.of(channel, queue, true).next();
        assertEquals("Hello World!", text(message.getBody()));
        assertEquals(queue, message.getEnvelope().getRoutingKey());
        assertEquals("", message.getEnvelope().getExchange());
        assertFalse(message.getEnvelope().isRedeliver());
    }

    private Inbox worker(String queue) throws Exception {
        Channel own = connection.createChannel();
        own.basicQos(1);
        return Inbox.of(own, queue, false);
    }

    @Test
    void tutorial2WorkQueue() throws Exception {
        String queue = unique("tasks");
        channel.queueDeclare(queue, true, false, false, null);
        try {
            Inbox slow = worker(queue);
            Inbox quick = worker(queue);
            for (String task : List.of("one", "two", "three", "four")) {
                channel.basicPublish("", queue, MessageProperties.PERSISTENT_TEXT_PLAIN, bytes(task));
            }
            // The slow worker holds its only task, so the quick one does all the others.
            Delivery held = slow.next();
            List<String> done = new ArrayList<>(List.of(text(held.getBody())));
            while (done.size() < 4) {
                Delivery task = quick.next();
                assertEquals(2, task.getProperties().getDeliveryMode());
                done.add(text(task.getBody()));
                quick.ack(task);
            }
            assertTrue(slow.deliveries.isEmpty());
            slow.ack(held);
            done.sort(null);
            assertEquals(List.of("four", "one", "three", "two"), done);
        } finally {
            channel.queueDelete(queue);
        }
    }

    @Test
    void tutorial2UnacknowledgedTaskGoesToAnother() throws Exception {
        String queue = privateQueue();
        publish("", queue, "task");
        Channel lost = connection.createChannel();
        assertFalse(Inbox.of(lost, queue, false).next().getEnvelope().isRedeliver());
        lost.close();
        Delivery again = Inbox.of(channel, queue, true).next();
        assertEquals("task", text(again.getBody()));
        assertTrue(again.getEnvelope().isRedeliver());
    }

    @Test
    void tutorial3PublishSubscribe() throws Exception {
        String exchange = unique("logs");
        channel.exchangeDeclare(exchange, BuiltinExchangeType.FANOUT, false, true, null);
        List<String> queues = List.of(privateQueue(), privateQueue());
        for (String queue : queues) {
            channel.queueBind(queue, exchange, "");
        }
        publish(exchange, "ignored", "info: Hello World!");
        for (String queue : queues) {
            assertHolds(List.of("info: Hello World!"), queue);
        }
    }

    /** Publishes every key as its own body; each list of binding keys is to get its list of them. */
    private void assertRoutes(BuiltinExchangeType type, List<String> keys, Map<List<String>, List<String>> routes) throws Exception {
        String exchange = unique("routes");
        channel.exchangeDeclare(exchange, type, false, true, null);
        Map<String, List<String>> expected = new HashMap<>();
        for (Map.Entry<List<String>, List<String>> route : routes.entrySet()) {
            String queue = privateQueue();
            for (String pattern : route.getKey()) {
                channel.queueBind(queue, exchange, pattern);
            }
            expected.put(queue, route.getValue());
        }
        for (String key : keys) {
            publish(exchange, key, key);
        }
        for (Map.Entry<String, List<String>> queue : expected.entrySet()) {
            assertHolds(queue.getValue(), queue.getKey());
        }
    }

    @Test
    void tutorial4Routing() throws Exception {
        assertRoutes(BuiltinExchangeType.DIRECT, List.of("info", "error", "debug", "warning", "error"), Map.of(
                List.of("error"), List.of("error", "error"),
                List.of("info", "warning", "error"), List.of("info", "error", "warning", "error")));
    }

    @Test
    void tutorial5Topics() throws Exception {
        List<String> keys = List.of("quick.orange.rabbit", "lazy.orange.elephant", "quick.brown.fox", "lazy.pink.rabbit", "orange",
                "lazy.orange.new.rabbit", "lazy");
        assertRoutes(BuiltinExchangeType.TOPIC, keys, Map.of(
                List.of("*.orange.*"), List.of("quick.orange.rabbit", "lazy.orange.elephant"),
                List.of("*.*.rabbit", "lazy.#"),
                List.of("quick.orange.rabbit", "lazy.orange.elephant", "lazy.pink.rabbit", "lazy.orange.new.rabbit", "lazy"),
                List.of("#"), keys,
                List.of("*"), List.of("orange", "lazy")));
    }

    private static int fibonacci(int n) {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    }

    @Test
    void tutorial6Rpc() throws Exception {
        String requests = unique("rpc");
        Channel server = connection.createChannel();
        server.queueDeclare(requests, false, false, true, null);
        server.basicQos(1);
        server.basicConsume(requests, false, (tag, request) -> {
            BasicProperties asked = request.getProperties();
            BasicProperties properties = new BasicProperties.Builder().correlationId(asked.getCorrelationId()).build();
            int answer = fibonacci(Integer.parseInt(text(request.getBody())));
            server.basicPublish("", asked.getReplyTo(), properties, bytes(Integer.toString(answer)));
            server.basicAck(request.getEnvelope().getDeliveryTag(), false);
        }, tag -> { });

        String replyTo = privateQueue();
        Inbox replies = Inbox.of(channel, replyTo, true);
        Map<String, Integer> asked = new HashMap<>();
        for (int n = 0; n < 12; n++) {
            String id = unique("call");
            BasicProperties properties = new BasicProperties.Builder().correlationId(id).replyTo(replyTo).build();
            channel.basicPublish("", requests, properties, bytes(Integer.toString(n)));
            asked.put(id, n);
        }
        while (!asked.isEmpty()) {
            Delivery reply = replies.next();
            Integer n = asked.remove(reply.getProperties().getCorrelationId());
            assertNotNull(n);
            assertEquals(Integer.toString(fibonacci(n)), text(reply.getBody()));
        }
    }
}
