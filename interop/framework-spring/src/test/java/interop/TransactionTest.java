package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.springframework.amqp.core.Message;
import org.springframework.amqp.rabbit.core.RabbitTemplate;
import org.springframework.amqp.rabbit.listener.AbstractMessageListenerContainer;
import org.springframework.amqp.rabbit.transaction.RabbitTransactionManager;
import org.springframework.transaction.support.TransactionTemplate;

/** Channels in transactions: by hand, by a transaction manager, and in a listener. */
class TransactionTest extends Broker {
    private RabbitTemplate transacted;
    private TransactionTemplate transaction;

    @BeforeEach
    void transactions() {
        transacted = new RabbitTemplate(connections);
        transacted.setChannelTransacted(true);
        transaction = new TransactionTemplate(new RabbitTransactionManager(connections));
    }

    @Test
    void whatIsCommittedComesTogether() {
        String first = queue("first");
        String second = queue("second");
        transaction.executeWithoutResult(status -> {
            for (int number = 0; number < 50; number++) {
                transacted.convertAndSend(first, "m" + number);
                transacted.convertAndSend(second, "m" + number);
            }
            assertEquals(0, count(first));
        });
        assertEquals(50, count(first));
        assertEquals(50, count(second));
    }

    @Test
    void aRollbackLeavesEverythingAsItWas() {
        String queue = queue("queue");
        template.convertAndSend(queue, "stays");
        assertThrows(IllegalStateException.class, () -> transaction.executeWithoutResult(status -> {
            assertEquals("stays", transacted.receiveAndConvert(queue));
            transacted.convertAndSend(queue, "never");
            throw new IllegalStateException("on purpose");
        }));
        Message again = receive(queue);
        assertEquals("stays", text(again));
        assertTrue(again.getMessageProperties().isRedelivered());
        assertNull(template.receive(queue, 100));
    }

    @Test
    void aTransactionForEachCall() {
        String queue = queue("queue");
        transacted.convertAndSend(queue, "one");
        assertEquals("one", transacted.receiveAndConvert(queue));
        assertEquals(0, count(queue));
    }

    /** What a listener publishes belongs to the message that it handles. */
    @ParameterizedTest
    @EnumSource
    void aListenerInATransaction(Kind kind) throws Exception {
        String in = queue("in");
        String out = queue("out");
        LinkedBlockingQueue<Message> tried = new LinkedBlockingQueue<>();
        AbstractMessageListenerContainer container = container(kind, in);
        container.setChannelTransacted(true);
        container.setTransactionManager(new RabbitTransactionManager(connections));
        container.setMessageListener(message -> {
            tried.add(message);
            transacted.convertAndSend(out, "from try " + tried.size());
            if (tried.size() < 3) {
                throw new IllegalStateException("on purpose");
            }
        });
        container.setErrorHandler(error -> { });
        start(container);
        template.convertAndSend(in, "work");
        assertEquals("from try 3", text(receive(out)));
        assertNull(template.receive(out, 200));
        assertTrue(next(3, "try", tried).get(2).getMessageProperties().isRedelivered());
        container.stop();
        assertEquals(0, count(in));
    }
}
