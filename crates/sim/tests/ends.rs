//! What ends while something is under way, told step by step.

use warrenmq_broker::Limits;
use warrenmq_broker::policy::{ApplyTo, PolicyKind};
use warrenmq_sim::bounds;
use warrenmq_sim::message::Message;
use warrenmq_sim::op::{Ask, To};
use warrenmq_sim::policy::Policy;
use warrenmq_sim::rules::Rules;
use warrenmq_sim::topology::{Kind, Topology};
use warrenmq_sim::trace::Trace;
use warrenmq_sim::world::{ALL, World};

const QUEUE: usize = 1;

/// A world with one queue beside that of dead letters.
fn world(own: Rules, limits: Limits) -> World {
    let plain = Kind { durable: true, ..Kind::default() };
    let queues = vec![Kind { takes_dead: true, ..plain }, Kind { own, ..plain }];
    let topology = Topology { queues, ..Topology::default() };
    World::new(topology, limits, Trace::default()).expect("the world begins")
}

/// The oracle knows how many messages are ready, and whether the queue is there.
fn count(world: &mut World) {
    let client = world.connect();
    world.plan(client, 1, Ask::Count(QUEUE));
    world.rest().expect("an answer that can be");
}

fn publish(world: &mut World, count: usize) {
    for _ in 0..count {
        let draft = Message { octets: 300, persistent: true, ..Message::default() };
        let message = world.new_message(draft);
        world.plan(0, 1, Ask::Publish(message, To::Queue(QUEUE)));
    }
    world.rest().expect("messages on disk");
}

#[test]
fn a_queue_is_used_until_the_connection_of_its_consumer_breaks() {
    let mut world = world(Rules { expires: Some(1000), ..Rules::default() }, bounds::small());
    world.plan(0, 1, Ask::Consume { name: QUEUE, consumer: 1, no_ack: true, timeout: None, priority: 0 });
    world.rest().expect("a consumer");
    world.advance(5000);
    world.cut(0).expect("nothing else ends");
    world.advance(999);
    assert!(world.oracle.rules(QUEUE).is_some());
    count(&mut world);
    world.advance(1000);
    assert!(world.oracle.rules(QUEUE).is_none());
    count(&mut world);
}

#[test]
fn a_get_that_waits_for_the_disk_takes_nothing_when_its_channel_is_closed() {
    let limits = Limits {
        message_memory_octets: 0,
        queue_memory_octets: 128,
        segment_block_octets: 100,
        ..bounds::small()
    };
    let mut world = world(Rules { consumer_timeout: Some(50), ..Rules::default() }, limits);
    publish(&mut world, 1);
    for answer in ["a message", "nothing: nobody reads the queue any more, so that its messages leave memory"]
    {
        world.plan(0, 1, Ask::Get { name: QUEUE, no_ack: false });
        world.rest().expect(answer);
    }
    publish(&mut world, 10);
    // Nothing is read back from now on.
    world.plan(0, 1, Ask::Get { name: QUEUE, no_ack: false });
    world.send(0);
    world.carry(0, usize::MAX);
    world.turn(0, ALL).expect("no answer yet");
    assert!(world.clients[0].waits_for_get());
    world.advance(1000);
    world.turn(0, ALL).expect("the channel is closed before anything is read");
    world.rest().expect("its deliveries are back");
    assert!(!world.clients[0].waits_for_get());
    count(&mut world);
    world.drain(0, None, &mut || false).expect("all messages are there");
    world.oracle.drained().expect("all messages are there");
}

#[test]
fn what_was_on_its_way_is_too_much_for_a_quorum_queue_that_may_be_shorter_now() {
    let plain = Kind { durable: true, ..Kind::default() };
    let queues = vec![Kind { takes_dead: true, ..plain }, Kind { quorum: true, ..plain }];
    let topology = Topology { queues, ..Topology::default() };
    let memory = 1 << 20;
    let limits = Limits { message_memory_octets: memory, queue_memory_octets: memory, ..bounds::small() };
    let mut world = World::new(topology, limits, Trace::default()).expect("the world begins");
    publish(&mut world, 4);
    let reader = world.connect();
    world.rest().expect("a channel");
    let ask = Ask::Consume { name: QUEUE, consumer: 1, no_ack: true, timeout: None, priority: 0 };
    world.plan(reader, 1, ask);
    world.send(reader);
    world.carry(reader, usize::MAX);
    for _ in 0..2 {
        // One message at a time: the others are on their way.
        world.turn(reader, 1).expect("a consumer");
    }
    let rules = Rules { max_length: Some(0), ..Rules::default() };
    let policy = Policy { priority: 0, queues: vec![QUEUE], applies: ApplyTo::All, rules, alternate: None };
    world.set_policy((PolicyKind::User, 0), Some(policy)).expect("a policy");
    world.cut(reader).expect("nothing else ends");
    count(&mut world);
}
