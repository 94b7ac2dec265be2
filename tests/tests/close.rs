//! The end of a connection that a client closes: when the answer comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use warrenmq_tests::{Client, start_broker};

/// aiormq's close takes several turns of its event loop, and an answer in the midst of them makes it forget why it was closed.
#[test]
fn aiormq_has_time_to_say_all_of_its_close() {
    let (broker, _home) = start_broker();
    let soonest = (0..5).map(|_| time_to_close(broker.address(), "aiormq")).min();
    assert!(soonest >= Some(Duration::from_millis(1)), "the answer came after {soonest:?}");
    // Nobody else waits for it.
    let soonest = (0..50).map(|_| time_to_close(broker.address(), "another")).min();
    assert!(soonest < Some(Duration::from_millis(1)), "the answer came after {soonest:?}");
}

/// From connection.close to its answer, for a client of this product.
fn time_to_close(address: SocketAddr, product: &str) -> Duration {
    let mut client = Client::connect(address);
    client.say(&format!(
        "C <bytes \"AMQP\\x00\\x00\\t\\x01\">
        S connection.start 0 version-minor=9 server-properties=* mechanisms=* locales=en_US
        C connection.start-ok 0 client-properties={{product:str:{product}}} mechanism=PLAIN response=\"\\x00guest\\x00guest\" locale=en_US
        S connection.tune 0 channel-max=* frame-max=* heartbeat=*
        C connection.tune-ok 0 channel-max=2047 frame-max=131072
        C connection.open 0 virtual-host=/
        S connection.open-ok 0"
    ));
    let asked = Instant::now();
    client.say("C connection.close 0 200\nS connection.close-ok 0");
    asked.elapsed()
}
