package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;

/** The handshake and heartbeats. */
class ConnectionTest extends Broker {
    @Test
    void serverProperties() {
        Map<String, Object> properties = connection.getServerProperties();
        for (String name : List.of("product", "version", "platform", "copyright", "information", "cluster_name")) {
            assertFalse(properties.get(name).toString().isEmpty(), name);
        }
        Map<?, ?> capabilities = (Map<?, ?>) properties.get("capabilities");
        for (String name : List.of("publisher_confirms", "exchange_exchange_bindings", "basic.nack", "consumer_cancel_notify", "connection.blocked",
                "authentication_failure_close")) {
            assertEquals(true, capabilities.get(name), name);
        }
    }

    @Test
    void tuning() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedChannelMax(5);
        factory.setRequestedFrameMax(8192);
        factory.setRequestedHeartbeat(20);
        try (Connection small = factory.newConnection()) {
            assertEquals(5, small.getChannelMax());
            assertEquals(8192, small.getFrameMax());
            assertEquals(20, small.getHeartbeat());
            for (int i = 0; i < 5; i++) {
                assertTrue(small.createChannel().isOpen());
            }
        }
    }

    @Test
    void itSurvivesHeartbeats() throws Exception {
        ConnectionFactory factory = factory();
        factory.setRequestedHeartbeat(2);
        try (Connection quiet = factory.newConnection()) {
            Thread.sleep(5000);
            assertTrue(quiet.isOpen());
            quiet.createChannel().queueDeclare();
        }
    }
}
