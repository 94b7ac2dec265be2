//! Measures delayed messages: fills an exchange with messages that wait, or sees how late messages come that were due.
//!
//! ```text
//! delayed fill HOST:PORT COUNT MIN_MS MAX_MS      publishes persistent messages of 16 octets, and waits for their confirms
//! delayed late HOST:PORT SECONDS RATE MAX_MS      publishes RATE messages a second with delays of up to MAX_MS; says how late they came
//! delayed burst HOST:PORT COUNT MS                publishes COUNT messages that are all due in one moment, and says the same
//! ```
//! It has a codec of its own, as little as it needs.

use std::error::Error;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Publishes that may wait for their confirm.
const UNCONFIRMED_MAX: u64 = 50_000;
const WRITE_OCTETS: usize = 64 * 1024;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| -> Result<u64> { Ok(arguments.get(at).ok_or("too few arguments")?.parse()?) };
    let address = arguments.get(1).ok_or("no address")?;
    match arguments[0].as_str() {
        "fill" => fill(address, number(2)?, number(3)?, number(4)?),
        "late" => late(address, number(2)?, number(3)?, number(4)?),
        "burst" => burst(address, number(2)?, number(3)?),
        other => Err(format!("unknown command {other}").into()),
    }
}

fn fill(address: &str, count: u64, min: u64, max: u64) -> Result<()> {
    let mut client = Client::open(address)?;
    client.call(85, 10, &[0])?;
    let confirmed = Arc::new(AtomicU64::new(0));
    let (mut reader, seen) = (client.split()?, Arc::clone(&confirmed));
    thread::spawn(move || {
        while let Ok((class, method, frame)) = reader.method() {
            if (class, method) == (60, 80) {
                let tag =
                    frame.get(4..12).and_then(|octets| octets.try_into().ok()).map_or(0, u64::from_be_bytes);
                seen.store(tag, Ordering::Release);
            }
        }
    });
    let start = Instant::now();
    let mut random = Random(7);
    let mut out = Vec::with_capacity(2 * WRITE_OCTETS);
    for number in 1..=count {
        put_publish(&mut out, min + random.below(max - min), &[7; 16]);
        if out.len() >= WRITE_OCTETS || number == count {
            client.stream.write_all(&out)?;
            out.clear();
            while number - confirmed.load(Ordering::Acquire) > UNCONFIRMED_MAX {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
    while confirmed.load(Ordering::Acquire) < count {
        thread::sleep(Duration::from_millis(1));
    }
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} messages confirmed in {seconds:.1} s, {:.0} a second", count as f64 / seconds);
    Ok(())
}

fn late(address: &str, seconds: u64, rate: u64, max: u64) -> Result<()> {
    let epoch = Instant::now();
    let mut random = Random(11);
    let consumer = consume(address, epoch, seconds * rate)?;
    let mut client = Client::open(address)?;
    let mut out = Vec::new();
    for number in 0..seconds * rate {
        let at = Duration::from_micros(number * 1_000_000 / rate);
        if let Some(wait) = at.checked_sub(epoch.elapsed())
            && wait > Duration::from_micros(500)
        {
            client.stream.write_all(&out)?;
            out.clear();
            thread::sleep(wait);
        }
        let delay = 1 + random.below(max);
        put_publish(&mut out, delay, &body(epoch, delay));
    }
    client.stream.write_all(&out)?;
    report(consumer.join().map_err(|_| "the consumer has panicked")?);
    Ok(())
}

fn burst(address: &str, count: u64, delay: u64) -> Result<()> {
    let epoch = Instant::now();
    let consumer = consume(address, epoch, count)?;
    let mut client = Client::open(address)?;
    let due = Duration::from_millis(delay);
    let mut out = Vec::new();
    for number in 1..=count {
        let left = due.saturating_sub(epoch.elapsed()).as_millis() as u64;
        put_publish(&mut out, left.max(1), &(due.as_micros() as u64).to_be_bytes().repeat(2));
        if out.len() >= WRITE_OCTETS || number == count {
            client.stream.write_all(&out)?;
            out.clear();
        }
    }
    println!("published after {} ms", epoch.elapsed().as_millis());
    report(consumer.join().map_err(|_| "the consumer has panicked")?);
    Ok(())
}

/// When the message is due, in microseconds, twice.
fn body(epoch: Instant, delay: u64) -> Vec<u8> {
    let due = epoch.elapsed().as_micros() as u64 + delay * 1000;
    due.to_be_bytes().repeat(2)
}

/// How late each message came, in microseconds.
fn consume(address: &str, epoch: Instant, count: u64) -> Result<thread::JoinHandle<Vec<i64>>> {
    let mut client = Client::open(address)?;
    client.call(60, 20, b"\0\0\x07delayed\x01c\x02\0\0\0\0")?;
    Ok(thread::spawn(move || {
        let mut late = Vec::new();
        while late.len() < count as usize {
            let Ok((kind, payload)) = client.frame() else { break };
            if kind == 3
                && let Some(due) = payload.first_chunk()
            {
                let now = epoch.elapsed().as_micros() as i64;
                late.push(now - u64::from_be_bytes(*due) as i64);
            }
        }
        late
    }))
}

fn report(mut late: Vec<i64>) {
    late.sort_unstable();
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize] as f64 / 1000.0;
    println!(
        "{} messages came; later than due, in ms: first {:.1}, p50 {:.1}, p99 {:.1}, p99.9 {:.1}, last {:.1}",
        late.len(),
        at(0.0),
        at(0.5),
        at(0.99),
        at(0.999),
        at(1.0)
    );
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 24) % below.max(1)
    }
}

/// A connection with channel 1 open, and the exchange and queue `delayed` there.
struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    used: usize,
}

impl Client {
    fn open(address: &str) -> Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        let mut client = Client { stream, buffer: Vec::new(), used: 0 };
        client.stream.write_all(b"AMQP\0\0\x09\x01")?;
        client.method()?;
        client.send(0, 10, 11, b"\0\0\0\0\x05PLAIN\0\0\0\x0c\0guest\0guest\x05en_US")?;
        client.method()?;
        client.send(0, 10, 31, &[7, 255, 0, 2, 0, 0, 0, 0])?;
        client.send(0, 10, 40, b"\x01/\0\0")?;
        client.method()?;
        client.call(20, 10, b"\0")?;
        let table = b"\x0ex-delayed-typeS\0\0\0\x06fanout";
        let declare =
            [&b"\0\0\x07delayed\x11x-delayed-message\x02"[..], &(table.len() as u32).to_be_bytes(), table];
        client.call(40, 10, &declare.concat())?;
        client.call(50, 10, b"\0\0\x07delayed\x02\0\0\0\0")?;
        client.call(50, 20, b"\0\0\x07delayed\x07delayed\0\0\0\0\0\0")?;
        Ok(client)
    }

    fn split(&self) -> Result<Client> {
        Ok(Client { stream: self.stream.try_clone()?, buffer: Vec::new(), used: 0 })
    }

    fn call(&mut self, class: u16, method: u16, arguments: &[u8]) -> Result<()> {
        self.send(1, class, method, arguments)?;
        match self.method()? {
            (other, _, _) if other == class => Ok(()),
            (_, _, frame) => Err(String::from_utf8_lossy(&frame).into_owned().into()),
        }
    }

    fn send(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) -> Result<()> {
        let mut out = Vec::new();
        put_frame(&mut out, 1, channel, &[&class.to_be_bytes(), &method.to_be_bytes(), arguments]);
        Ok(self.stream.write_all(&out)?)
    }

    /// The next method with its class and its arguments behind both.
    fn method(&mut self) -> Result<(u16, u16, Vec<u8>)> {
        loop {
            let (kind, payload) = self.frame()?;
            if kind == 1
                && let [a, b, c, d, ..] = *payload
            {
                return Ok((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), payload));
            }
        }
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>)> {
        loop {
            let rest = &self.buffer[self.used..];
            if let Some(head) = rest.first_chunk::<7>() {
                let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]) as usize;
                if rest.len() >= size + 8 {
                    let frame = (head[0], rest[7..7 + size].to_vec());
                    self.used += size + 8;
                    return Ok(frame);
                }
            }
            self.buffer.drain(..self.used);
            self.used = 0;
            let mut read = vec![0; 128 * 1024];
            let count = self.stream.read(&mut read)?;
            if count == 0 {
                return Err("the broker has closed the connection".into());
            }
            self.buffer.extend_from_slice(&read[..count]);
        }
    }
}

fn put_publish(out: &mut Vec<u8>, delay: u64, body: &[u8]) {
    put_frame(out, 1, 1, &[b"\0\x3c\0\x28\0\0\x07delayed\0\0"]);
    let table = [&b"\x07x-delayl"[..], &delay.to_be_bytes()].concat();
    let size = (body.len() as u64).to_be_bytes();
    put_frame(
        out,
        2,
        1,
        &[b"\0\x3c\0\0", &size, b"\x30\0", &(table.len() as u32).to_be_bytes(), &table, b"\x02"],
    );
    put_frame(out, 3, 1, &[body]);
}

fn put_frame(out: &mut Vec<u8>, kind: u8, channel: u16, parts: &[&[u8]]) {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    out.push(kind);
    out.extend_from_slice(&channel.to_be_bytes());
    out.extend_from_slice(&(size as u32).to_be_bytes());
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(0xCE);
}
