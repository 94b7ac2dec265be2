package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.ImmediateRequeueAmqpException;
import org.springframework.amqp.core.AcknowledgeMode;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.DirectMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.api.ChannelAwareBatchMessageListener;
import org.springframework.amqp.rabbit.listener.api.ChannelAwareMessageListener;

/** Listener containers: acknowledging, failing, losing a queue, many consumers, batches. */
class ContainerTest extends Broker {
    private final LinkedBlockingQueue<Message> got = new LinkedBlockingQueue<>();

    private void concurrency(AbstractMessageListenerContainer container, int consumers) {
        if (container instanceof SimpleMessageListenerContainer simple) {
            simple.setConcurrentConsumers(consumers);
        } else if (container instanceof DirectMessageListenerContainer direct) {
            direct.setConsumersPerQueue(consumers);
        }
    }

    private void send(String queue, int from, int to) {
        for (int number = from; number < to; number++) {
            template.convertAndSend(queue, "m" + number);
        }
    }

    @ParameterizedTest
    @EnumSource
    void everyMessageOnce(Kind kind) throws Exception {
        String queue = queue("all");
        AbstractMessageListenerContainer container = container(kind, queue);
        concurrency(container, 4);
        container.setPrefetchCount(10);
        container.setMessageListener(got::add);
        start(container);
        send(queue, 0, 1000);
        Set<String> bodies = new HashSet<>();
        for (Message message : next(1000, "message", got)) {
            bodies.add(text(message));
            assertEquals(queue, message.getMessageProperties().getConsumerQueue());
        }
        assertEquals(1000, bodies.size());
        container.stop();
        assertEquals(0, count(queue));
    }

    @ParameterizedTest
    @EnumSource
    void oneConsumerKeepsTheOrder(Kind kind) throws Exception {
        String queue = queue("order");
        send(queue, 0, 300);
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setPrefetchCount(7);
        if (container instanceof SimpleMessageListenerContainer simple) {
            simple.setBatchSize(5);
        } else if (container instanceof DirectMessageListenerContainer direct) {
            direct.setMessagesPerAck(5);
            direct.setAckTimeout(200);
        }
        container.setMessageListener(got::add);
        start(container);
        List<Message> all = next(300, "message", got);
        for (int number = 0; number < 300; number++) {
            assertEquals("m" + number, text(all.get(number)));
        }
        container.stop();
        eventually("all acknowledged", () -> count(queue) == 0);
    }

    @ParameterizedTest
    @EnumSource
    void withoutAcknowledgements(Kind kind) throws Exception {
        String queue = queue("none");
        send(queue, 0, 50);
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setAcknowledgeMode(AcknowledgeMode.NONE);
        container.setMessageListener(got::add);
        start(container);
        next(50, "message", got);
        assertEquals(0, count(queue));
    }

    @ParameterizedTest
    @EnumSource
    void byHand(Kind kind) throws Exception {
        String queue = queue("manual");
        send(queue, 0, 3);
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setAcknowledgeMode(AcknowledgeMode.MANUAL);
        container.setMessageListener((ChannelAwareMessageListener) (message, channel) -> {
            long tag = message.getMessageProperties().getDeliveryTag();
            switch (text(message)) {
                case "m0" -> channel.basicAck(tag, false);
                case "m1" -> channel.basicReject(tag, false);
                default -> {
                    boolean again = Boolean.TRUE.equals(message.getMessageProperties().isRedelivered());
                    channel.basicNack(tag, false, !again);
                }
            }
            got.add(message);
        });
        start(container);
        List<Message> all = next(4, "message", got);
        assertEquals("m2", text(all.get(3)));
        assertTrue(all.get(3).getMessageProperties().isRedelivered());
        container.stop();
        assertEquals(0, count(queue));
    }

    @ParameterizedTest
    @EnumSource
    void failuresAreRedeliveredOrDie(Kind kind) throws Exception {
        String dead = queue("dead");
        String queue = declare(QueueBuilder.durable(unique("failing")).deadLetterExchange("")
                .deadLetterRoutingKey(dead).build());
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMessageListener(message -> {
            got.add(message);
            if (text(message).equals("poison")) {
                throw new AmqpRejectAndDontRequeueException("on purpose");
            }
            if (!Boolean.TRUE.equals(message.getMessageProperties().isRedelivered())) {
                throw text(message).equals("fails") ? new IllegalStateException("on purpose")
                        : new ImmediateRequeueAmqpException("on purpose");
            }
        });
        container.setErrorHandler(error -> { });
        start(container);
        template.convertAndSend(queue, "poison");
        Map<String, ?> death = receive(dead).getMessageProperties().getXDeathHeader().get(0);
        assertEquals("rejected", death.get("reason"));
        assertEquals(queue, death.get("queue"));
        assertEquals(1L, death.get("count"));
        assertEquals("poison", text(next("message", got)));
        AbstractMessageListenerContainer again = container(kind, queue);
        container.stop();
        again.setMessageListener(container.getMessageListener());
        start(again);
        template.convertAndSend(queue, "fails");
        assertEquals("fails", text(next("message", got)));
        assertTrue(next("redelivery", got).getMessageProperties().isRedelivered());
        template.convertAndSend(queue, "requeued");
        next("message", got);
        assertTrue(next("redelivery", got).getMessageProperties().isRedelivered());
        again.stop();
        assertEquals(0, count(queue));
    }

    /** The broker cancels the consumers of a deleted queue; the container declares it again and goes on. */
    @ParameterizedTest
    @EnumSource
    void aQueueThatIsDeletedAndComesBack(Kind kind) throws Exception {
        String queue = queue("deleted");
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMissingQueuesFatal(false);
        container.setMessageListener(got::add);
        if (container instanceof SimpleMessageListenerContainer simple) {
            simple.setDeclarationRetries(1);
            simple.setFailedDeclarationRetryInterval(100);
            simple.setRetryDeclarationInterval(200);
        }
        start(container);
        send(queue, 0, 1);
        next("message", got);
        admin.deleteQueue(queue);
        eventually("queue is gone", () -> admin.getQueueInfo(queue) == null);
        admin.declareQueue(new Queue(queue));
        send(queue, 1, 2);
        assertEquals("m1", text(next("message after the queue came back", got)));
    }

    @ParameterizedTest
    @EnumSource
    void queuesComeAndGoAtRunTime(Kind kind) throws Exception {
        String first = queue("first");
        String second = queue("second");
        AbstractMessageListenerContainer container = container(kind, first);
        container.setMessageListener(got::add);
        start(container);
        container.addQueueNames(second);
        send(second, 0, 1);
        assertEquals(second, next("message", got).getMessageProperties().getConsumerQueue());
        container.removeQueueNames(first);
        eventually("no consumer", () -> admin.getQueueInfo(first).getConsumerCount() == 0);
        send(second, 1, 2);
        assertEquals("m1", text(next("message", got)));
    }

    /** 403 for the second exclusive consumer, which tries again until the first has gone. */
    @ParameterizedTest
    @EnumSource
    void anExclusiveConsumerHasAnHeir(Kind kind) throws Exception {
        String queue = queue("exclusive");
        AbstractMessageListenerContainer owner = container(kind, queue);
        owner.setExclusive(true);
        owner.setMessageListener(got::add);
        start(owner);
        eventually("consumer", () -> admin.getQueueInfo(queue).getConsumerCount() == 1);
        LinkedBlockingQueue<Message> inherited = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer heir = container(kind, queue);
        heir.setExclusive(true);
        heir.setMessageListener(inherited::add);
        start(heir);
        send(queue, 0, 1);
        next("message", got);
        assertNull(inherited.poll(300, TimeUnit.MILLISECONDS));
        owner.stop();
        send(queue, 1, 2);
        assertEquals("m1", text(next("message", inherited)));
    }

    @ParameterizedTest
    @EnumSource
    void oneActiveConsumer(Kind kind) throws Exception {
        String queue = declare(QueueBuilder.durable(unique("active")).singleActiveConsumer().build());
        AbstractMessageListenerContainer first = container(kind, queue);
        first.setMessageListener(got::add);
        start(first);
        eventually("consumer", () -> admin.getQueueInfo(queue).getConsumerCount() == 1);
        LinkedBlockingQueue<Message> other = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer second = container(kind, queue);
        second.setMessageListener(other::add);
        start(second);
        eventually("consumers", () -> admin.getQueueInfo(queue).getConsumerCount() == 2);
        send(queue, 0, 20);
        next(20, "message", got);
        assertTrue(other.isEmpty());
        first.stop();
        send(queue, 20, 21);
        assertEquals("m20", text(next("message", other)));
    }

    @ParameterizedTest
    @EnumSource
    void theConsumerOfHigherPriorityGetsAll(Kind kind) throws Exception {
        String queue = queue("priority");
        LinkedBlockingQueue<Message> low = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer reserve = container(kind, queue);
        reserve.setConsumerArguments(Map.of("x-priority", -1));
        reserve.setMessageListener(low::add);
        start(reserve);
        AbstractMessageListenerContainer preferred = container(kind, queue);
        preferred.setConsumerArguments(Map.of("x-priority", 5));
        preferred.setMessageListener(got::add);
        start(preferred);
        eventually("consumers", () -> admin.getQueueInfo(queue).getConsumerCount() == 2);
        send(queue, 0, 20);
        next(20, "message", got);
        assertTrue(low.isEmpty());
    }

    /** A container that is stopped lets its listener end, and gives back what it had prefetched. */
    @ParameterizedTest
    @EnumSource
    void stoppingGivesBackWhatWasNotBegun(Kind kind) throws Exception {
        String queue = queue("stopped");
        send(queue, 0, 10);
        CountDownLatch begun = new CountDownLatch(1);
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setPrefetchCount(5);
        container.setForceStop(true);
        container.setMessageListener(message -> {
            begun.countDown();
            sleep(500);
            got.add(message);
        });
        start(container);
        assertTrue(begun.await(STEP_SECONDS, TimeUnit.SECONDS));
        container.stop();
        int done = got.size();
        assertTrue(done >= 1 && done < 10, "done: " + done);
        eventually("the rest is back", () -> count(queue) == 10 - done);
        got.clear();
        AbstractMessageListenerContainer next = container(kind, queue);
        next.setMessageListener(got::add);
        start(next);
        List<Message> rest = next(10 - done, "message", got);
        for (int number = 0; number < rest.size(); number++) {
            assertEquals("m" + (number + done), text(rest.get(number)));
        }
    }

    private static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException stopped) {
            Thread.currentThread().interrupt();
        }
    }

    @Test
    void batches() throws Exception {
        String queue = queue("batches");
        send(queue, 0, 25);
        SimpleMessageListenerContainer container = (SimpleMessageListenerContainer) container(Kind.SIMPLE, queue);
        container.setConsumerBatchEnabled(true);
        container.setDeBatchingEnabled(true);
        container.setBatchSize(10);
        container.setReceiveTimeout(300);
        container.setPrefetchCount(20);
        LinkedBlockingQueue<Integer> sizes = new LinkedBlockingQueue<>();
        container.setMessageListener((ChannelAwareBatchMessageListener) (messages, channel) -> {
            got.addAll(messages);
            sizes.add(messages.size());
        });
        start(container);
        List<Message> all = next(25, "message", got);
        assertEquals("m24", text(all.get(24)));
        assertEquals(List.of(10, 10, 5), next(3, "batch", sizes));
        container.stop();
        assertEquals(0, count(queue));
    }

    /** More consumers come while there is work, and go when there is none. */
    @Test
    void consumersComeAndGo() throws Exception {
        String queue = queue("scaled");
        send(queue, 0, 200);
        SimpleMessageListenerContainer container = (SimpleMessageListenerContainer) container(Kind.SIMPLE, queue);
        container.setConcurrentConsumers(1);
        container.setMaxConcurrentConsumers(3);
        container.setStartConsumerMinInterval(100);
        container.setStopConsumerMinInterval(100);
        container.setConsecutiveActiveTrigger(2);
        container.setConsecutiveIdleTrigger(2);
        container.setPrefetchCount(1);
        AtomicInteger done = new AtomicInteger();
        container.setMessageListener(message -> {
            sleep(20);
            done.incrementAndGet();
        });
        start(container);
        eventually("three consumers", () -> admin.getQueueInfo(queue).getConsumerCount() == 3);
        eventually("all done", () -> done.get() == 200);
        eventually("one consumer", () -> admin.getQueueInfo(queue).getConsumerCount() == 1);
    }

    @Test
    void aServerNamedQueueOfOneConnection() throws Exception {
        Queue anonymous = new Queue("", false, true, true);
        String name = admin.declareQueue(anonymous);
        assertFalse(name.isEmpty());
        AbstractMessageListenerContainer container = container(Kind.DIRECT, name);
        container.setMessageListener(got::add);
        start(container);
        send(name, 0, 1);
        next("message", got);
    }
}
