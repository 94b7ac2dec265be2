package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP.BasicProperties;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Return;
import java.util.TreeSet;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Publisher confirms, returned messages, transactions. */
class ConfirmsTest extends Broker {
    @Test
    void waitForConfirms() throws Exception {
        String queue = unique("confirmed");
        channel.queueDeclare(queue, true, false, false, null);
        try {
            channel.confirmSelect();
            for (int i = 0; i < 300; i++) {
                assertEquals(i + 1, channel.getNextPublishSeqNo());
                channel.basicPublish("", queue, i % 3 == 0 ? MessageProperties.MINIMAL_PERSISTENT_BASIC : null, bytes("" + i));
            }
            channel.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(STEP_SECONDS));
            assertEquals(300, channel.messageCount(queue));
        } finally {
            channel.queueDelete(queue);
        }
    }

    @Test
    void confirmListenerHearsEveryTagOnce() throws Exception {
        ConcurrentSkipListSet<Long> open = new ConcurrentSkipListSet<>();
        BlockingQueue<String> problems = new LinkedBlockingQueue<>();
        channel.confirmSelect();
        channel.addConfirmListener(
                (tag, multiple) -> {
                    if (multiple) {
                        open.headSet(tag, true).clear();
                    } else if (!open.remove(tag)) {
                        problems.add("confirmed twice: " + tag);
                    }
                },
                (tag, multiple) -> problems.add("refused: " + tag));
        String queue = privateQueue();
        for (int i = 0; i < 200; i++) {
            open.add(channel.getNextPublishSeqNo());
            publish("", queue, "" + i);
        }
        assertTrue(channel.waitForConfirms(TimeUnit.SECONDS.toMillis(STEP_SECONDS)));
        assertEquals(new TreeSet<Long>(), new TreeSet<>(open));
        assertNull(problems.peek());
    }

    @Test
    void mandatoryIsReturnedBeforeItsConfirm() throws Exception {
        BlockingQueue<Object> events = new LinkedBlockingQueue<>();
        channel.addReturnListener(returned -> events.add(returned));
        channel.addConfirmListener((tag, multiple) -> events.add("ack " + tag), (tag, multiple) -> events.add("nack " + tag));
        channel.confirmSelect();
        String key = unique("nowhere");
        BasicProperties properties = new BasicProperties.Builder().contentType("text/plain").build();
        channel.basicPublish("amq.direct", key, true, properties, bytes("come back"));
        Return returned = (Return) next("return", events);
        assertEquals(312, returned.getReplyCode());
        assertEquals("NO_ROUTE", returned.getReplyText());
        assertEquals("amq.direct", returned.getExchange());
        assertEquals(key, returned.getRoutingKey());
        assertEquals("text/plain", returned.getProperties().getContentType());
        assertEquals("come back", text(returned.getBody()));
        assertEquals("ack 1", next("confirm", events));
    }

    @Test
    void unroutableIsConfirmed() throws Exception {
        channel.confirmSelect();
        publish("amq.direct", unique("nowhere"), "lost");
        assertTrue(channel.waitForConfirms(TimeUnit.SECONDS.toMillis(STEP_SECONDS)));
    }

    @Test
    void transaction() throws Exception {
        String queue = privateQueue();
        channel.txSelect();
        publish("", queue, "rolled back");
        channel.txRollback();
        publish("", queue, "committed");
        assertNull(channel.basicGet(queue, true));
        channel.txCommit();
        assertNotNull(channel.basicGet(queue, true));
        channel.txCommit();
        assertNull(channel.basicGet(queue, true));
    }
}
