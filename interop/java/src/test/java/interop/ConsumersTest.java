package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Delivery;
import com.rabbitmq.client.GetResponse;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;

/** Consumers: how they end, what they return. */
class ConsumersTest extends Broker {
    @Test
    void deletingTheQueueCancelsItsConsumers() throws Exception {
        String queue = unique("deleted");
        channel.queueDeclare(queue, false, false, false, null);
        Channel other = connection.createChannel();
        Inbox here = Inbox.of(channel, queue, false);
        Inbox there = Inbox.of(other, queue, false);
        channel.queueDelete(queue);
        assertEquals(here.tag(), next("cancel", here.cancels));
        assertEquals(there.tag(), next("cancel", there.cancels));
        assertTrue(channel.isOpen() && other.isOpen());
        privateQueue();
    }

    @Test
    void cancelByTheClient() throws Exception {
        String queue = privateQueue();
        Inbox inbox = Inbox.of(channel, queue, true);
        channel.basicCancel(inbox.tag());
        assertEquals(inbox.tag(), next("cancel-ok", inbox.cancelOks));
        assertEquals(0, channel.consumerCount(queue));
        publish("", queue, "later");
        assertHolds(List.of("later"), queue);
        assertTrue(inbox.deliveries.isEmpty());
    }

    @Test
    void requeueToTheOldPlace() throws Exception {
        String queue = privateQueue();
        for (String body : List.of("1", "2", "3", "4", "5")) {
            publish("", queue, body);
        }
        Channel taker = connection.createChannel();
        Inbox inbox = Inbox.of(taker, queue, false);
        List<Delivery> taken = new ArrayList<>();
        while (taken.size() < 5) {
            taken.add(inbox.next());
            assertEquals(taken.size(), taken.get(taken.size() - 1).getEnvelope().getDeliveryTag());
        }
        taker.basicAck(1, false);
        taker.basicReject(3, false);
        taker.basicCancel(inbox.tag());
        taker.basicNack(4, false, true);
        taker.basicReject(2, true);
        taker.close();
        for (String body : List.of("2", "4", "5")) {
            GetResponse message = channel.basicGet(queue, true);
            assertEquals(body, text(message.getBody()));
            assertTrue(message.getEnvelope().isRedeliver());
        }
        assertNull(channel.basicGet(queue, true));
    }

    @Test
    void recoverBringsBackWhatIsNotAcknowledged() throws Exception {
        String queue = privateQueue();
        for (String body : List.of("1", "2", "3")) {
            publish("", queue, body);
        }
        Inbox inbox = Inbox.of(channel, queue, false);
        assertEquals(List.of("1", "2", "3"), inbox.bodies(3));
        channel.basicAck(2, true);
        channel.basicRecover(true);
        Delivery again = inbox.next();
        assertEquals("3", text(again.getBody()));
        assertTrue(again.getEnvelope().isRedeliver());
    }

    @Test
    void getAndPurge() throws Exception {
        String queue = privateQueue();
        assertNull(channel.basicGet(queue, false));
        publish("", queue, "a");
        publish("", queue, "b");
        GetResponse message = channel.basicGet(queue, false);
        assertEquals("a", text(message.getBody()));
        assertEquals(1, message.getMessageCount());
        channel.basicAck(message.getEnvelope().getDeliveryTag(), false);
        assertEquals(1, channel.queuePurge(queue).getMessageCount());
    }
}
