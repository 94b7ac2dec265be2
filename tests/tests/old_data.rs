//! The data folders of earlier versions (`tests/data`): the broker of now starts on them, with everything that was in them, and
//! makes them its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warrenmq_testkit::process::BrokerHome;
use warrenmq_tests::{Client, binary, restart_broker};

/// What `data/v1.definitions.json` says. Declarations with all arguments: others would be refused.
const DEFINITIONS: &str = "
    C queue.declare 1 queue=plain durable=true
    S queue.declare-ok 1 queue=plain message-count=0 consumer-count=0
    C queue.declare 1 queue=limited durable=true arguments={x-max-length:int32:100,x-overflow:str:reject-publish,x-message-ttl:int32:86400000,x-dead-letter-exchange:str:unrouted}
    S queue.declare-ok 1 queue=limited message-count=0 consumer-count=0
    C queue.declare 1 queue=ranked durable=true arguments={x-max-priority:int32:9}
    S queue.declare-ok 1 queue=ranked message-count=0 consumer-count=0
    C queue.declare 1 queue=lost passive=true
    S queue.declare-ok 1 queue=lost message-count=0 consumer-count=0
    C exchange.declare 1 exchange=direct type=direct durable=true
    S exchange.declare-ok 1
    C exchange.declare 1 exchange=topic type=topic durable=true arguments={alternate-exchange:str:unrouted}
    S exchange.declare-ok 1
    C exchange.declare 1 exchange=unrouted type=fanout durable=true internal=true
    S exchange.declare-ok 1
    C basic.publish 1 exchange=amq.topic routing-key=k | delivery-mode=2 | body=\"exchange to exchange\"
    C basic.get 1 queue=plain no-ack=true
    S basic.get-ok 1 1 exchange=amq.topic routing-key=k | delivery-mode=2 | body=\"exchange to exchange\"
    C basic.publish 1 exchange=topic routing-key=a.b | delivery-mode=2 | body=\"two queues\"
    C basic.get 1 queue=limited no-ack=true
    S basic.get-ok 1 2 exchange=topic routing-key=a.b | delivery-mode=2 | body=\"two queues\"
    C basic.get 1 queue=ranked no-ack=true
    S basic.get-ok 1 3 exchange=topic routing-key=a.b | delivery-mode=2 | body=\"two queues\"
    C basic.publish 1 exchange=topic routing-key=c | delivery-mode=2 | body=alternate
    C basic.get 1 queue=lost no-ack=true
    S basic.get-ok 1 4 exchange=topic routing-key=c | delivery-mode=2 | body=alternate";

/// The other vhost, and a user who may only configure what begins with `r.` there.
const WARREN: &str = "
    open user=rabbit password=carrot vhost=warren
    C channel.open 1
    S channel.open-ok 1
    C queue.declare 1 queue=r.burrow durable=true
    S queue.declare-ok 1 queue=r.burrow message-count=0 consumer-count=0
    C basic.publish 1 exchange=headers | headers={colour:str:grey} delivery-mode=2 | body=\"by headers\"
    C basic.get 1 queue=r.burrow no-ack=true
    S basic.get-ok 1 1 exchange=headers | delivery-mode=2 headers={colour:str:grey} | body=\"by headers\"
    C queue.declare 1 queue=other durable=true
    S channel.close 1 403 ~ACCESS_REFUSED* by=queue.declare
    C channel.close-ok 1";

#[test]
fn a_folder_of_format_1_is_taken_over() {
    let home = BrokerHome::new().expect("a temporary folder can be made");
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/v1");
    copy(&old, &home.data_dir());
    let format = || fs::read_to_string(home.data_dir().join("format")).expect("the file is there");
    assert_eq!(format(), "warrenmq 1\n");

    // A start that fails leaves it to the version that wrote it.
    let database = home.data_dir().join("definitions/db");
    let whole = fs::read(&database).expect("the file is there");
    fs::write(&database, &whole[..whole.len() / 2]).expect("the file can be written");
    let refused = Command::new(binary())
        .args(["serve", "--listen", "127.0.0.1:0", "--data-dir"])
        .arg(home.data_dir())
        .output()
        .expect("the broker can be run");
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(format(), "warrenmq 1\n");
    fs::remove_dir_all(home.data_dir()).expect("the folder can be removed");
    copy(&old, &home.data_dir());

    for round in 0..2 {
        let broker = restart_broker(&home);
        Client::open(broker.address()).say(DEFINITIONS);
        Client::connect(broker.address()).say(WARREN);
        assert!(broker.stop(Duration::from_secs(5)).expect("the broker ends in time").success());
        assert_eq!(format(), "warrenmq 2\n", "after start {round}");
    }
    let notes = home.log().matches("has format 2 now, it was 1").count();
    assert_eq!(notes, 1, "the change is logged once:\n{}", home.log_tail());
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("the folder is there") {
        let entry = entry.expect("a folder can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("a file can be copied");
        }
    }
}
