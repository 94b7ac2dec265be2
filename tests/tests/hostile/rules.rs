//! Bytes that break a rule of the protocol, each on a connection of its own: the broker says which rule, as RabbitMQ does, and
//! closes what the rule protects.

use warrenmq_testkit::transcript::{Mode, Options};
use warrenmq_tests::frames;
use warrenmq_tests::{Client, Watched};

/// What a client on channel 1 says, and what the broker answers. All of them end with connection.close.
const BROKEN_RULES: &[(&str, &str)] = &[
    (
        "a frame one octet above frame_max",
        "C <bytes 01 0001 00020001>\n\
         S connection.close 0 501 \"FRAME_ERROR - type 1, all octets = <<>>: {frame_too_large,131073,131064}\"",
    ),
    (
        "a frame of 4 GiB",
        "C <bytes 03 0001 ffffffff>\n\
         S connection.close 0 501 \"FRAME_ERROR - type 3, all octets = <<>>: {frame_too_large,4294967295,131064}\"",
    ),
    (
        "the protocol header once more",
        "C <bytes \"AMQP\\x00\\x00\\x09\\x01\">\nS connection.close 0 501 ~FRAME_ERROR*frame_too_large*",
    ),
    (
        "HTTP on an open connection",
        "C <bytes \"GET / HTTP/1.1\\r\\n\\r\\n\">\nS connection.close 0 501 ~FRAME_ERROR*frame_too_large*",
    ),
    (
        "a wrong end octet",
        "C <bytes 01 0001 00000004 00140028 cf>\n\
         S connection.close 0 501 ~FRAME_ERROR*{invalid_frame_end_marker,207}",
    ),
    ("frame type 0", "C frame 0 1 \"abcd\"\nS connection.close 0 501 ~FRAME_ERROR*unknown_frame"),
    ("frame type 255", "C frame 255 1 \"abcd\"\nS connection.close 0 501 ~FRAME_ERROR*unknown_frame"),
    ("an empty method frame", "C frame 1 1\nS connection.close 0 501 ~FRAME_ERROR*unknown_frame"),
    (
        "half a method id",
        "C frame 1 1 \"\\x00\\x3c\\x00\"\nS connection.close 0 501 ~FRAME_ERROR*unknown_frame",
    ),
    (
        "an unknown class",
        "C frame 1 1 \"\\x00\\x63\\x00\\x0a\"\n\
         S connection.close 0 503 \"COMMAND_INVALID - unknown method: class 99, method 10\"",
    ),
    (
        "an unknown class on channel 0",
        "C frame 1 0 \"\\xff\\xff\\xff\\xff\"\n\
         S connection.close 0 503 \"COMMAND_INVALID - unknown method: class 65535, method 65535\"",
    ),
    (
        "an unknown method",
        "C frame 1 1 \"\\x00\\x3c\\x00\\x82\"\n\
         S connection.close 0 503 \"COMMAND_INVALID - unknown method: class 60, method 130\"",
    ),
    (
        "a method of the server",
        "C basic.deliver 1 | | body=x\n\
         S connection.close 0 503 \"COMMAND_INVALID - unimplemented method\" by=basic.deliver",
    ),
    (
        "a handshake method on an open connection",
        "C connection.tune-ok 0\n\
         S connection.close 0 504 \"CHANNEL_ERROR - unexpected method in connection state running\" by=connection.tune-ok",
    ),
    (
        "a method on a channel that was never opened",
        "C basic.qos 2 prefetch-count=1\n\
         S connection.close 0 504 \"CHANNEL_ERROR - expected 'channel.open'\" by=basic.qos",
    ),
    (
        "a publish on a channel that was never opened",
        "C basic.publish 65535 routing-key=k | | body=x\n\
         S connection.close 0 504 \"CHANNEL_ERROR - expected 'channel.open'\" by=basic.publish",
    ),
    (
        "a method on a channel that the client has closed",
        "C channel.close 1 200\nS channel.close-ok 1\nC basic.qos 1 prefetch-count=1\n\
         S connection.close 0 504 \"CHANNEL_ERROR - expected 'channel.open'\" by=basic.qos",
    ),
    (
        "a method on a channel that the broker has closed",
        "C queue.delete 1 queue=nowhere\nS queue.delete-ok 1\nC basic.ack 1 7\n\
         S channel.close 1 406 \"PRECONDITION_FAILED - unknown delivery tag 7\" by=basic.ack\nC channel.close-ok 1\n\
         C basic.ack 1 7\nS connection.close 0 504 \"CHANNEL_ERROR - expected 'channel.open'\" by=basic.ack",
    ),
    (
        "a channel that is opened twice",
        "C channel.open 1\nS connection.close 0 504 \"CHANNEL_ERROR - second 'channel.open' seen\" by=channel.open",
    ),
    (
        "a content header without a publish",
        "C frame header 1 size=3\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected method frame, got non method frame instead\"",
    ),
    (
        "a body without a publish",
        "C frame body 1 \"abc\"\n\
         S connection.close 0 505 \"UNEXPECTED_FRAME - expected method frame, got non method frame instead\"",
    ),
    ("a content header on channel 0", "C frame header 0 size=3\nS connection.close 0 505 ~UNEXPECTED_FRAME*"),
    (
        "a string longer than its frame",
        "C frame 1 1 \"\\x00\\x32\\x00\\x0a\\x00\\x00\\xffab\"\n\
         S connection.close 0 501 \"FRAME_ERROR - cannot decode <<0,0,255,97,98>>\" by=queue.declare",
    ),
    (
        "a routing key longer than its frame",
        "C frame 1 1 \"\\x00\\x3c\\x00\\x28\\x00\\x00\\x00\\xff\"\n\
         S connection.close 0 501 \"FRAME_ERROR - cannot decode <<0,0,0,255>>\" by=basic.publish",
    ),
    (
        "a table longer than its frame",
        "C frame 1 1 \"\\x00\\x32\\x00\\x0a\\x00\\x00\\x01q\\x00\\xff\\xff\\xff\\xff\"\n\
         S connection.close 0 502 ~SYNTAX_ERROR* by=queue.declare",
    ),
    (
        "octets behind the last argument",
        "C frame 1 1 \"\\x00\\x14\\x00\\x0a\\x00more\"\nS connection.close 0 501 ~FRAME_ERROR* by=channel.open",
    ),
    (
        "a queue that is not UTF-8",
        "C queue.declare 1 queue=\"\\xff\\xfe\"\n\
         S connection.close 0 501 \"FRAME_ERROR - Malformed UTF-8 in shortstr\"",
    ),
    (
        "half a character at the end of an exchange",
        "C exchange.declare 1 exchange=\"\\xe2\\x82\" type=direct\n\
         S connection.close 0 501 \"FRAME_ERROR - Malformed UTF-8 in shortstr\"",
    ),
    (
        "a surrogate in a consumer tag",
        "C basic.consume 1 queue=q consumer-tag=\"\\xed\\xa0\\x80\"\n\
         S connection.close 0 501 \"FRAME_ERROR - Malformed UTF-8 in shortstr\"",
    ),
    (
        "an argument whose key is not UTF-8",
        "C queue.declare 1 queue=q arguments={\"\\xff\":int32:1}\n\
         S connection.close 0 501 \"FRAME_ERROR - Malformed UTF-8 in shortstr\"",
    ),
];

#[test]
fn each_broken_rule_is_named_and_the_connection_closed() {
    let mut broker = Watched::start("");
    let mut closing = Vec::new();
    let built = [deep_tables(), channels_over_the_limit()].concat();
    let fixed = BROKEN_RULES.iter().map(|(name, script)| ((*name).to_owned(), (*script).to_owned()));
    for (name, script) in fixed.chain(built) {
        for mode in [Mode::Whole, Mode::ByteByByte] {
            if mode == Mode::ByteByByte && script.len() > LONG_SCRIPT {
                continue;
            }
            println!("{name}, {mode:?}");
            let mut client = Client::connect_with(broker.address(), Options { mode, ..Options::default() });
            client.say("open\nC channel.open 1\nS channel.open-ok 1");
            client.say(&script);
            broker.check(&name);
            // When the framing is lost the answer to connection.close cannot be heard: the socket is closed after 3 s.
            client.say("C connection.close-ok 0");
            closing.push((name.clone(), client));
        }
    }
    for (name, mut client) in closing {
        println!("{name}: the socket");
        client.say("S <close>");
    }
    broker.check("all of them");
}

/// Byte by byte these would take longer than they are worth.
const LONG_SCRIPT: usize = 10_000;

/// Far deeper than any client nests; a parser that calls itself for each level runs out of stack.
const DEPTH: usize = 10_000;

fn deep_tables() -> Vec<(String, String)> {
    let (tables, arrays) = (frames::nested_tables(DEPTH), frames::nested_arrays(DEPTH));
    let consume = |table: &[u8]| frames::method(1, 60, 20, &[&b"\0\0\x01q\x01t\0"[..], table].concat());
    let exchange = |table: &[u8]| frames::method(1, 40, 10, &[&b"\0\0\x01x\x06direct\0"[..], table].concat());
    let headers = |table: &[u8]| frames::publish(1, "k", false, &[&[0x20, 0][..], table].concat(), b"");
    let cases = [
        (
            "tables in queue.declare",
            frames::queue_declare(1, "deep", 0, &tables),
            "502 ~SYNTAX_ERROR* by=queue.declare",
        ),
        (
            "arrays in queue.declare",
            frames::queue_declare(1, "deep", 0, &arrays),
            "502 ~SYNTAX_ERROR* by=queue.declare",
        ),
        ("tables in exchange.declare", exchange(&tables), "502 ~SYNTAX_ERROR* by=exchange.declare"),
        ("tables in basic.consume", consume(&tables), "502 ~SYNTAX_ERROR* by=basic.consume"),
        ("tables in the headers of a message", headers(&tables), "502 ~SYNTAX_ERROR* by=basic.publish"),
        ("arrays in the headers of a message", headers(&arrays), "502 ~SYNTAX_ERROR* by=basic.publish"),
    ];
    let script = |bytes: &[u8], answer: &str| format!("{}\nS connection.close 0 {answer}", raw(bytes));
    cases.iter().map(|(name, bytes, answer)| (format!("{DEPTH} {name}"), script(bytes, answer))).collect()
}

/// Channels 2 to 2047 beside channel 1, and one more.
fn channels_over_the_limit() -> Vec<(String, String)> {
    let opens: Vec<u8> = (2..=2048).flat_map(|channel| frames::method(channel, 20, 10, &[0])).collect();
    let answers: String = (2..=2047).map(|channel| format!("S channel.open-ok {channel}\n")).collect();
    let close = "S connection.close 0 530 \
                 \"NOT_ALLOWED - number of channels opened (2047) has reached the negotiated channel_max (2047)\"";
    vec![("one channel too many".to_owned(), format!("{}\n{answers}{close}", raw(&opens)))]
}

/// Bytes as a line of a transcript.
fn raw(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("C <bytes {digits}>")
}
