package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.AMQP;
import com.rabbitmq.client.AuthenticationFailureException;
import com.rabbitmq.client.Channel;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.ShutdownSignalException;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;

/** Refusals: reply code, text and scope. */
class ErrorsTest extends Broker {
    private interface Call {
        void on(Channel channel) throws Exception;
    }

    private static void assertChannelClose(ShutdownSignalException signal, int code, String text) {
        AMQP.Channel.Close close = (AMQP.Channel.Close) signal.getReason();
        assertEquals(text, close.getReplyText());
        assertEquals(code, close.getReplyCode());
        assertFalse(signal.isHardError());
    }

    /** The call fails on a channel of its own, and only that channel goes. */
    private void assertRefused(int code, String text, Call call) throws Exception {
        Channel own = connection.createChannel();
        IOException refusal = assertThrows(IOException.class, () -> call.on(own), text);
        assertChannelClose((ShutdownSignalException) refusal.getCause(), code, text);
        assertTrue(connection.isOpen());
    }

    /** As {@link #assertRefused}, for methods without an answer of their own. */
    private void assertRefusedLater(int code, String text, Call call) throws Exception {
        Channel own = connection.createChannel();
        BlockingQueue<ShutdownSignalException> signals = new LinkedBlockingQueue<>();
        own.addShutdownListener(signals::add);
        call.on(own);
        assertChannelClose(next("channel.close", signals), code, text);
        assertTrue(connection.isOpen());
    }

    @Test
    void notFound() throws Exception {
        String none = unique("none");
        String queue = "NOT_FOUND - no queue '" + none + "' in vhost '/'";
        String exchange = "NOT_FOUND - no exchange '" + none + "' in vhost '/'";
        assertRefused(404, queue, c -> c.queueDeclarePassive(none));
        assertRefused(404, queue, c -> c.basicGet(none, true));
        assertRefused(404, queue, c -> Inbox.of(c, none, true));
        assertRefused(404, exchange, c -> c.exchangeDeclarePassive(none));
        assertRefused(404, exchange, c -> c.exchangeBind("amq.fanout", none, ""));
        assertRefusedLater(404, exchange, c -> c.basicPublish(none, "key", null, bytes("lost")));
    }

    @Test
    void resourceLocked() throws Exception {
        String queue = unique("locked");
        connect().createChannel().queueDeclare(queue, false, true, false, null);
        String text = "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '" + queue + "' in vhost '/'. It could be originally"
                + " declared on another connection or the exclusive property value does not match that of the original declaration.";
        assertRefused(405, text, c -> c.queueDeclarePassive(queue));
        assertRefused(405, text, c -> c.queueDeclare(queue, false, true, false, null));
        assertRefused(405, text, c -> c.queueDelete(queue));
    }

    @Test
    void preconditionFailed() throws Exception {
        String queue = unique("there");
        channel.queueDeclare(queue, false, false, true, null);
        assertRefused(406, "PRECONDITION_FAILED - inequivalent arg 'durable' for queue '" + queue + "' in vhost '/': received 'true' but current is"
                + " 'false'", c -> c.queueDeclare(queue, true, false, true, null));
        Inbox.of(channel, queue, true);
        assertRefused(406, "PRECONDITION_FAILED - queue '" + queue + "' in vhost '/' in use", c -> c.queueDelete(queue, true, false));
        assertRefusedLater(406, "PRECONDITION_FAILED - unknown delivery tag 9", c -> c.basicAck(9, false));
        assertRefused(406, "PRECONDITION_FAILED - channel is not transactional", Channel::txCommit);
    }

    @Test
    void accessRefused() throws Exception {
        assertRefused(403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
                c -> c.queueDeclare("amq.mine", false, true, false, null));
        assertRefused(403, "ACCESS_REFUSED - operation not permitted on the default exchange", c -> c.exchangeDelete(""));
        String queue = privateQueue();
        channel.basicConsume(queue, true, "", false, true, null, (tag, message) -> { }, tag -> { });
        assertRefused(403, "ACCESS_REFUSED - queue '" + queue + "' in vhost '/' in exclusive use", c -> Inbox.of(c, queue, true));
    }

    @Test
    void connectionErrors() throws Exception {
        Inbox inbox = Inbox.of(channel, privateQueue(), true);
        Channel own = connection.createChannel();
        assertThrows(IOException.class, () -> own.basicQos(7, 1, false));
        ShutdownSignalException signal = next("end of the consumer", inbox.shutdowns);
        assertTrue(signal.isHardError());
        AMQP.Connection.Close close = (AMQP.Connection.Close) signal.getReason();
        assertEquals("NOT_IMPLEMENTED - prefetch_size!=0 (7)", close.getReplyText());
        assertEquals(540, close.getReplyCode());
    }

    @Test
    void refusedConnections() {
        ConnectionFactory wrong = factory();
        wrong.setPassword("wrong");
        String text = assertThrows(AuthenticationFailureException.class, wrong::newConnection).getMessage();
        assertTrue(text.startsWith("ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN."), text);
        ConnectionFactory vhost = factory();
        vhost.setVirtualHost(unique("vhost"));
        IOException refusal = assertThrows(IOException.class, vhost::newConnection);
        AMQP.Connection.Close close = (AMQP.Connection.Close) ((ShutdownSignalException) refusal.getCause()).getReason();
        assertEquals(530, close.getReplyCode());
        assertEquals("NOT_ALLOWED - vhost " + vhost.getVirtualHost() + " not found", close.getReplyText());
    }
}
