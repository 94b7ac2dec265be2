package interop;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.springframework.amqp.core.AmqpMessageReturnedException;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageBuilder;
import org.springframework.amqp.core.MessageDeliveryMode;
import org.springframework.amqp.core.MessageListener;
import org.springframework.amqp.core.MessageProperties;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.core.ReturnedMessage;
import org.springframework.amqp.rabbit.AsyncRabbitTemplate;
import org.springframework.amqp.rabbit.batch.SimpleBatchingStrategy;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.connection.CorrelationData;
import org.springframework.amqp.rabbit.core.BatchingRabbitTemplate;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.SimpleMessageListenerContainer;
import org.springframework.amqp.rabbit.listener.adapter.MessageListenerAdapter;
import org.springframework.scheduling.concurrent.ThreadPoolTaskScheduler;

/** RabbitTemplate: publishing with confirms and returns, receiving, and the ways to have a reply. */
class TemplateTest extends Broker {
    private RabbitTemplate confirming() {
        CachingConnectionFactory factory = connect();
        factory.setPublisherConfirmType(ConfirmType.CORRELATED);
        factory.setPublisherReturns(true);
        RabbitTemplate confirming = new RabbitTemplate(factory);
        confirming.setMandatory(true);
        return confirming;
    }

    private static CorrelationData.Confirm confirm(CorrelationData data) throws Exception {
        return data.getFuture().get(STEP_SECONDS, TimeUnit.SECONDS);
    }

    @Test
    void confirmsCorrelate() throws Exception {
        String queue = queue("confirms");
        RabbitTemplate confirming = confirming();
        List<CorrelationData> sent = new ArrayList<>();
        for (int number = 0; number < 500; number++) {
            CorrelationData data = new CorrelationData("c" + number);
            confirming.convertAndSend("", queue, "m" + number, data);
            sent.add(data);
        }
        for (CorrelationData data : sent) {
            assertTrue(confirm(data).ack());
            assertNull(data.getReturned());
        }
        assertEquals(500, count(queue));
    }

    @Test
    void aReturnComesBeforeItsConfirm() throws Exception {
        RabbitTemplate confirming = confirming();
        LinkedBlockingQueue<ReturnedMessage> returned = new LinkedBlockingQueue<>();
        confirming.setReturnsCallback(returned::add);
        CorrelationData data = new CorrelationData();
        confirming.convertAndSend("", unique("nowhere"), "lost", data);
        assertTrue(confirm(data).ack());
        ReturnedMessage message = data.getReturned();
        assertNotNull(message);
        assertEquals(312, message.getReplyCode());
        assertEquals("NO_ROUTE", message.getReplyText());
        assertEquals("lost", text(next("return", returned).getMessage()));
    }

    @Test
    void aQueueThatRefusesNacks() throws Exception {
        String queue = declare(QueueBuilder.durable(unique("full")).maxLength(1L)
                .overflow(QueueBuilder.Overflow.rejectPublish).build());
        RabbitTemplate confirming = confirming();
        CorrelationData first = new CorrelationData();
        CorrelationData second = new CorrelationData();
        confirming.convertAndSend("", queue, "first", first);
        assertTrue(confirm(first).ack());
        confirming.convertAndSend("", queue, "second", second);
        assertFalse(confirm(second).ack());
    }

    @Test
    void aMissingExchangeClosesTheChannelAndNacks() throws Exception {
        RabbitTemplate confirming = confirming();
        CorrelationData data = new CorrelationData();
        confirming.convertAndSend(unique("none"), "key", "lost", data);
        CorrelationData.Confirm confirm = confirm(data);
        assertFalse(confirm.ack());
        assertTrue(confirm.reason().contains("NOT_FOUND - no exchange"), confirm.reason());
        String queue = queue("after");
        CorrelationData next = new CorrelationData();
        confirming.convertAndSend("", queue, "the channel is another one", next);
        assertTrue(confirm(next).ack());
    }

    @Test
    void simpleConfirmsInOneScope() {
        CachingConnectionFactory factory = connect();
        factory.setPublisherConfirmType(ConfirmType.SIMPLE);
        String queue = queue("scope");
        boolean confirmed = Boolean.TRUE.equals(new RabbitTemplate(factory).invoke(operations -> {
            for (int number = 0; number < 100; number++) {
                operations.convertAndSend("", queue, "m" + number);
            }
            return operations.waitForConfirms(STEP_SECONDS * 1000);
        }));
        assertTrue(confirmed);
        assertEquals(100, count(queue));
    }

    @Test
    void aPublisherConnectionOfItsOwn() throws Exception {
        String queue = queue("publisher");
        template.setUsePublisherConnection(true);
        template.convertAndSend(queue, "by the other connection");
        assertEquals("by the other connection", text(receive(queue)));
    }

    @Test
    void propertiesComeThrough() {
        String queue = queue("properties");
        byte[] body = {0, 1, (byte) 0xff};
        Message sent = MessageBuilder.withBody(body)
                .setContentType("application/x").setContentEncoding("gzip").setMessageId("id").setAppId("app")
                .setCorrelationId("correlation").setType("type").setPriority(7).setExpiration("60000")
                .setTimestamp(new Date(1_700_000_000_000L)).setDeliveryMode(MessageDeliveryMode.NON_PERSISTENT)
                .setUserId("guest").setReplyTo("reply")
                .setHeader("text", "Grüße").setHeader("int", 5).setHeader("long", 1L << 40).setHeader("flag", true)
                .setHeader("list", List.of("a", 1)).setHeader("map", Map.of("nested", Map.of("x", "y"))).build();
        template.send(queue, sent);
        Message got = receive(queue);
        MessageProperties properties = got.getMessageProperties();
        assertArrayEquals(body, got.getBody());
        assertEquals("application/x", properties.getContentType());
        assertEquals("gzip", properties.getContentEncoding());
        assertEquals("id", properties.getMessageId());
        assertEquals("app", properties.getAppId());
        assertEquals("correlation", properties.getCorrelationId());
        assertEquals("type", properties.getType());
        assertEquals(7, properties.getPriority());
        assertEquals("60000", properties.getExpiration());
        assertEquals(new Date(1_700_000_000_000L), properties.getTimestamp());
        assertEquals(MessageDeliveryMode.NON_PERSISTENT, properties.getReceivedDeliveryMode());
        assertEquals("guest", properties.getReceivedUserId());
        assertEquals("reply", properties.getReplyTo());
        for (String header : List.of("text", "int", "long", "flag", "list", "map")) {
            Object expected = sent.getMessageProperties().getHeaders().get(header);
            assertEquals(expected, properties.getHeaders().get(header), header);
        }
        assertEquals(queue, properties.getReceivedRoutingKey());
        assertEquals("", properties.getReceivedExchange());
    }

    @Test
    void receivingWaitsWithAConsumerThatIsCancelled() throws Exception {
        String queue = queue("receive");
        assertNull(template.receive(queue));
        assertNull(template.receive(queue, 100));
        CompletableFuture<Message> waiting = CompletableFuture.supplyAsync(() -> receive(queue));
        eventually("consumer", () -> admin.getQueueInfo(queue).getConsumerCount() == 1);
        template.convertAndSend(queue, "came");
        assertEquals("came", text(waiting.get(STEP_SECONDS, TimeUnit.SECONDS)));
        eventually("no consumer", () -> admin.getQueueInfo(queue).getConsumerCount() == 0);
        assertEquals(0, count(queue));
    }

    @Test
    void receiveAndReply() {
        String queue = queue("requests");
        String replies = queue("replies");
        template.convertAndSend(queue, (Object) "ping", message -> {
            message.getMessageProperties().setReplyTo(replies);
            message.getMessageProperties().setCorrelationId("c");
            return message;
        });
        assertTrue(template.<String, String>receiveAndReply(queue, request -> request + " pong"));
        assertEquals("ping pong", text(receive(replies)));
    }

    /** A container that answers in capital letters. */
    private String answering(Kind kind) throws Exception {
        String queue = queue("rpc");
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMessageListener(new MessageListenerAdapter(new Object() {
            @SuppressWarnings("unused")
            public String handleMessage(String request) {
                return request.toUpperCase();
            }
        }));
        start(container);
        return queue;
    }

    @ParameterizedTest
    @EnumSource
    void directReplyTo(Kind kind) throws Exception {
        String queue = answering(kind);
        ExecutorService threads = Executors.newFixedThreadPool(8);
        later(threads::shutdownNow);
        List<Future<Object>> answers = new ArrayList<>();
        for (int number = 0; number < 100; number++) {
            String request = "request " + number;
            answers.add(threads.submit(() -> template.convertSendAndReceive("", queue, request)));
        }
        for (int number = 0; number < 100; number++) {
            assertEquals("REQUEST " + number, answers.get(number).get(STEP_SECONDS, TimeUnit.SECONDS));
        }
        later(template::destroy);
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void repliesWithoutTheContainer(boolean temporaryQueue) throws Exception {
        String queue = answering(Kind.DIRECT);
        template.setUseDirectReplyToContainer(false);
        template.setUseTemporaryReplyQueues(temporaryQueue);
        for (int number = 0; number < 5; number++) {
            assertEquals("REQUEST", template.convertSendAndReceive("", queue, "request"));
        }
    }

    @Test
    void repliesInAFixedQueue() throws Exception {
        String queue = answering(Kind.DIRECT);
        String replies = queue("replies");
        template.setReplyAddress(replies);
        template.afterPropertiesSet();
        SimpleMessageListenerContainer container = (SimpleMessageListenerContainer) container(Kind.SIMPLE, replies);
        container.setMessageListener((MessageListener) template);
        start(container);
        assertEquals("REQUEST", template.convertSendAndReceive("", queue, "request"));
    }

    @Test
    void noReplyAndNoQueue() {
        String queue = queue("silent");
        template.setReplyTimeout(200);
        assertNull(template.convertSendAndReceive("", queue, "anybody?"));
        CachingConnectionFactory factory = connect();
        factory.setPublisherReturns(true);
        RabbitTemplate mandatory = new RabbitTemplate(factory);
        mandatory.setMandatory(true);
        later(mandatory::destroy);
        assertThrows(AmqpMessageReturnedException.class,
                () -> mandatory.convertSendAndReceive("", unique("nowhere"), "anybody?"));
    }

    @Test
    void repliesThatComeLater() throws Exception {
        String queue = answering(Kind.DIRECT);
        AsyncRabbitTemplate async = new AsyncRabbitTemplate(connections, "", queue);
        async.start();
        later(async::stop);
        List<CompletableFuture<String>> answers = new ArrayList<>();
        for (int number = 0; number < 20; number++) {
            answers.add(async.convertSendAndReceive("", queue, "r" + number));
        }
        for (int number = 0; number < 20; number++) {
            assertEquals("R" + number, answers.get(number).get(STEP_SECONDS, TimeUnit.SECONDS));
        }
    }

    @Test
    void batchesOfOneMessage() throws Exception {
        String queue = queue("batches");
        ThreadPoolTaskScheduler scheduler = new ThreadPoolTaskScheduler();
        scheduler.afterPropertiesSet();
        later(scheduler::shutdown);
        BatchingRabbitTemplate batching =
                new BatchingRabbitTemplate(connections, new SimpleBatchingStrategy(10, 10_000, 200), scheduler);
        for (int number = 0; number < 25; number++) {
            batching.convertAndSend(queue, "m" + number);
        }
        LinkedBlockingQueue<String> got = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer container = container(Kind.SIMPLE, queue);
        container.setMessageListener(message -> got.add(text(message)));
        start(container);
        List<String> all = next(25, "message", got);
        for (int number = 0; number < 25; number++) {
            assertEquals("m" + number, all.get(number));
        }
    }
}
