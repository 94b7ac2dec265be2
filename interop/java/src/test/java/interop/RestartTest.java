package interop;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.MessageProperties;
import com.rabbitmq.client.Recoverable;
import com.rabbitmq.client.RecoveryListener;
import java.nio.charset.StandardCharsets;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** A restart of the broker: what the client's automatic recovery brings back, and what the broker has kept. */
class RestartTest extends Broker {
    /** Starts, stops or kills a broker for this test alone; gives its port when it starts. */
    private static int broker(String verb, String name) throws Exception {
        Process process = new ProcessBuilder(System.getenv("INTEROP_BROKER"), verb, name).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
        assertEquals(0, process.waitFor(), verb);
        return said.isEmpty() ? 0 : Integer.parseInt(said);
    }

    @ParameterizedTest
    @ValueSource(strings = {"stop", "kill"})
    void recovery(String verb) throws Exception {
        Assumptions.assumeFalse(System.getenv().getOrDefault("INTEROP_BROKER", "").isEmpty(), "no WARRENMQ_BINARY");
        String name = "java-" + verb;
        ConnectionFactory factory = factory();
        factory.setHost("127.0.0.1");
        factory.setPort(broker("start", name));
        factory.setAutomaticRecoveryEnabled(true);
        factory.setNetworkRecoveryInterval(200);
        try (Connection own = factory.newConnection()) {
            Channel on = own.createChannel();
            on.confirmSelect();
            on.queueDeclare("kept", true, false, false, null);
            for (String body : List.of("a", "b", "c")) {
                on.basicPublish("", "kept", MessageProperties.MINIMAL_PERSISTENT_BASIC, bytes(body));
            }
            on.waitForConfirmsOrDie(TimeUnit.SECONDS.toMillis(STEP_SECONDS));
            on.exchangeDeclare("logs", "fanout", false, true, null);
            String fleeting = on.queueDeclare().getQueue();
            on.queueBind(fleeting, "logs", "");
            Inbox inbox = Inbox.of(on, fleeting, true);
            on.basicPublish("logs", "", null, bytes("before"));
            assertEquals(List.of("before"), inbox.bodies(1));

            BlockingQueue<String> recovered = new LinkedBlockingQueue<>();
            ((Recoverable) own).addRecoveryListener(new RecoveryListener() {
                @Override
                public void handleRecovery(Recoverable recoverable) {
                    recovered.add("done");
                }

                @Override
                public void handleRecoveryStarted(Recoverable recoverable) {
                }
            });
            broker(verb, name);
            broker("start", name);
            assertEquals("done", next("recovery", recovered));
            assertTrue(own.isOpen() && on.isOpen());
            on.basicPublish("logs", "", null, bytes("after"));
            assertEquals(List.of("after"), inbox.bodies(1));
            assertEquals(List.of("a", "b", "c"), Inbox.of(on, "kept", true).bodies(3));
        } finally {
            broker("kill", name);
        }
    }
}
