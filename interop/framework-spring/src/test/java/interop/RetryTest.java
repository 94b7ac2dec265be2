package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.Map;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.aopalliance.aop.Advice;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.AmqpRejectAndDontRequeueException;
import org.springframework.amqp.core.DirectExchange;
import org.springframework.amqp.core.BindingBuilder;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.core.MessageBuilder;
import org.springframework.amqp.core.Queue;
import org.springframework.amqp.core.QueueBuilder;
import org.springframework.amqp.rabbit.config.RetryInterceptorBuilder;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory;
import org.springframework.amqp.rabbit.connection.CachingConnectionFactory.ConfirmType;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.retry.MessageRecoverer;
import org.springframework.amqp.rabbit.retry.RejectAndDontRequeueRecoverer;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecoverer;
import org.springframework.amqp.rabbit.retry.RepublishMessageRecovererWithConfirms;

/** The ways in which applications try again: in memory, then republished or rejected; and around by dead letters. */
class RetryTest extends Broker {
    private final LinkedBlockingQueue<Message> tried = new LinkedBlockingQueue<>();

    private AbstractMessageListenerContainer failing(Kind kind, String queue, Advice advice) throws Exception {
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setAdviceChain(advice);
        container.setMessageListener(message -> {
            tried.add(message);
            throw new IllegalStateException("on purpose");
        });
        container.setErrorHandler(error -> { });
        start(container);
        return container;
    }

    private static Advice stateless(MessageRecoverer recoverer) {
        return RetryInterceptorBuilder.stateless().maxRetries(2).backOffOptions(10, 2, 100).recoverer(recoverer).build();
    }

    @ParameterizedTest
    @EnumSource
    void republishedWithItsException(Kind kind) throws Exception {
        String queue = queue("retried");
        String errors = queue("errors");
        failing(kind, queue, stateless(new RepublishMessageRecoverer(template, "", errors)));
        template.convertAndSend(queue, "poison");
        Message dead = receive(errors);
        Map<String, Object> headers = dead.getMessageProperties().getHeaders();
        assertEquals("poison", text(dead));
        assertEquals("on purpose", headers.get("x-exception-message"));
        assertEquals(queue, headers.get("x-original-routingKey"));
        assertEquals(3, tried.size());
        eventually("acknowledged", () -> count(queue) == 0);
    }

    @ParameterizedTest
    @EnumSource
    void republishedWithConfirms(Kind kind) throws Exception {
        CachingConnectionFactory factory = connect();
        factory.setPublisherConfirmType(ConfirmType.CORRELATED);
        factory.setPublisherReturns(true);
        RabbitTemplate confirming = new RabbitTemplate(factory);
        confirming.setMandatory(true);
        String queue = queue("retried");
        String errors = queue("errors");
        failing(kind, queue, stateless(
                new RepublishMessageRecovererWithConfirms(confirming, "", errors, ConfirmType.CORRELATED)));
        template.convertAndSend(queue, "poison");
        assertEquals("poison", text(receive(errors)));
        eventually("acknowledged", () -> count(queue) == 0);
    }

    @ParameterizedTest
    @EnumSource
    void rejectedToADeadLetterExchange(Kind kind) throws Exception {
        DirectExchange exchange = new DirectExchange(unique("dlx"));
        declare(exchange);
        Queue dead = new Queue(queue("dead"));
        String queue = declare(QueueBuilder.durable(unique("retried")).deadLetterExchange(exchange.getName()).build());
        admin.declareBinding(BindingBuilder.bind(dead).to(exchange).with(queue));
        failing(kind, queue, stateless(new RejectAndDontRequeueRecoverer()));
        template.convertAndSend(queue, "poison");
        Map<String, ?> death = receive(dead.getName()).getMessageProperties().getXDeathHeader().get(0);
        assertEquals(List.of(queue, "rejected", "", List.of(queue)),
                List.of(death.get("queue"), death.get("reason"), death.get("exchange"), death.get("routing-keys")));
        assertEquals(3, tried.size());
    }

    /** Each try is a delivery of its own; the message's id tells that it is the same one. */
    @ParameterizedTest
    @EnumSource
    void statefulRetriesAreRedeliveries(Kind kind) throws Exception {
        String queue = queue("stateful");
        String errors = queue("errors");
        failing(kind, queue, RetryInterceptorBuilder.stateful().maxRetries(2)
                .recoverer(new RepublishMessageRecoverer(template, "", errors)).build());
        template.send(queue, MessageBuilder.withBody("poison".getBytes()).setMessageId("id").build());
        assertEquals("poison", text(receive(errors)));
        List<Message> all = next(3, "try", tried);
        assertEquals(List.of(false, true, true),
                all.stream().map(message -> message.getMessageProperties().isRedelivered()).toList());
        eventually("acknowledged", () -> count(queue) == 0);
    }

    /** Rejected, it waits in a queue with a time to live and comes back, until `x-death` says that it was enough. */
    @ParameterizedTest
    @EnumSource
    void aroundByDeadLetters(Kind kind) throws Exception {
        String work = unique("work");
        String pause = declare(QueueBuilder.durable(unique("pause")).ttl(200).deadLetterExchange("")
                .deadLetterRoutingKey(work).build());
        declare(QueueBuilder.durable(work).deadLetterExchange("").deadLetterRoutingKey(pause).build());
        LinkedBlockingQueue<Message> gaveUp = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer container = container(kind, work);
        container.setMessageListener(message -> {
            tried.add(message);
            if (deaths(message, work, "rejected") == 3) {
                gaveUp.add(message);
                return;
            }
            throw new AmqpRejectAndDontRequeueException("on purpose");
        });
        container.setErrorHandler(error -> { });
        start(container);
        long began = System.nanoTime();
        template.convertAndSend(work, "poison");
        Message last = next("last try", gaveUp);
        assertTrue(System.nanoTime() - began >= TimeUnit.MILLISECONDS.toNanos(600));
        assertEquals(4, tried.size());
        assertEquals(3, deaths(last, pause, "expired"));
        assertEquals(work, last.getMessageProperties().getHeaders().get("x-first-death-queue"));
        assertEquals("rejected", last.getMessageProperties().getHeaders().get("x-first-death-reason"));
        assertNull(template.receive(pause, 300));
    }

    private static long deaths(Message message, String queue, String reason) {
        List<Map<String, ?>> deaths = message.getMessageProperties().getXDeathHeader();
        return deaths == null ? 0 : deaths.stream()
                .filter(death -> queue.equals(death.get("queue")) && reason.equals(death.get("reason")))
                .mapToLong(death -> (Long) death.get("count")).sum();
    }

    /** A quorum queue counts deliveries itself, and lets a message die that comes back too often. */
    @ParameterizedTest
    @EnumSource
    void theDeliveryLimitOfAQuorumQueue(Kind kind) throws Exception {
        String dead = queue("dead");
        String queue = declare(QueueBuilder.durable(unique("limited")).quorum().deliveryLimit(2)
                .deadLetterExchange("").deadLetterRoutingKey(dead).build());
        AbstractMessageListenerContainer container = container(kind, queue);
        container.setMessageListener(message -> {
            tried.add(message);
            throw new IllegalStateException("on purpose");
        });
        container.setErrorHandler(error -> { });
        start(container);
        template.convertAndSend(queue, "poison");
        Map<String, ?> death = receive(dead).getMessageProperties().getXDeathHeader().get(0);
        assertEquals("delivery_limit", death.get("reason"));
        List<Message> all = next(3, "try", tried);
        assertNull(all.get(0).getMessageProperties().getHeaders().get("x-delivery-count"));
        assertEquals(1L, all.get(1).getMessageProperties().getHeaders().get("x-delivery-count"));
        assertEquals(2L, all.get(2).getMessageProperties().getHeaders().get("x-delivery-count"));
    }
}
