//! Bodies much larger than a frame or a buffer, over a socket.

use warrenmq_tests::{Client, restart_broker, start_broker};

/// 20 MiB and a little, of a pattern that no frame ends with.
const LARGE: &str = r#"body="abcdefghijklm"*1613194"#;

#[test]
fn a_body_of_20_mib_is_delivered_and_kept() {
    let (broker, home) = start_broker();
    let mut client = Client::open(broker.address());
    client.say(&format!(
        "C queue.declare 1 queue=large durable=true
         S queue.declare-ok 1 queue=large
         C confirm.select 1
         S confirm.select-ok 1
         C basic.publish 1 routing-key=large | delivery-mode=2 | {LARGE}
         C basic.publish 1 routing-key=large | delivery-mode=2 | body=small
         S confirmed 1 1..2
         C basic.consume 1 queue=large consumer-tag=c
         S basic.consume-ok 1 consumer-tag=c
         S basic.deliver 1 c 1 routing-key=large | delivery-mode=2 | {LARGE}
         S basic.deliver 1 c 2 routing-key=large | delivery-mode=2 | body=small
         C basic.ack 1 2
         C basic.nack 1 1 requeue=true
         S basic.deliver 1 c 3 redelivered=true routing-key=large | delivery-mode=2 | {LARGE}"
    ));
    broker.kill().expect("it can be killed");
    let broker = restart_broker(&home);
    Client::open(broker.address()).say(&format!(
        "C basic.get 1 queue=large no-ack=true
         S basic.get-ok 1 1 redelivered=true routing-key=large message-count=* | delivery-mode=2 | {LARGE}"
    ));
}
