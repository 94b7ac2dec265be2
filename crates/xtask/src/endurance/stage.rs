//! A broker and its clients through the cycles of a run. What must not happen is noted, and the run goes on; only a broker that cannot be
//! started again, or does not answer, is an end.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use warrenmq_testkit::process::{BrokerHome, BrokerProcess};

use super::DEFINITIONS;
use super::census::Census;
use super::crew::{Crew, Work};
use super::load::{self, DRAINED, Phase};
use super::plan::{Plan, Turn};
use super::results::{Cycle, Rest};
use super::sampler::{Sample, Sampler};
use crate::flat::median;

/// The broker is ended in this part of the time in which backlogs grow: they are whole then, and all others are in the midst.
const TURN_PART: f64 = 0.85;
/// How long the broker may take to end.
const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long the queues may take to be empty when the time of the consumers is over.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);

/// A run on its way.
pub(crate) struct Stage<'a> {
    binary: &'a Path,
    plan: &'a Plan,
    interrupted: &'a AtomicBool,
    home: BrokerHome,
    broker: Option<BrokerProcess>,
    sampler: Sampler,
    failures: Vec<String>,
    cycles: usize,
}

impl<'a> Stage<'a> {
    /// Starts the first broker, in an empty folder.
    ///
    /// # Errors
    /// When it does not start.
    pub(crate) fn open(binary: &'a Path, plan: &'a Plan, interrupted: &'a AtomicBool) -> io::Result<Self> {
        let home = BrokerHome::new()?;
        home.write_file("definitions.json", DEFINITIONS)?;
        let sampler = Sampler::start(home.data_dir());
        let failures = Vec::new();
        let mut stage = Stage { binary, plan, interrupted, home, broker: None, sampler, failures, cycles: 0 };
        stage.start().map_err(io::Error::other)?;
        Ok(stage)
    }

    /// One cycle.
    ///
    /// # Errors
    /// When the broker does not start again, or does not answer.
    pub(crate) fn play(&mut self, turn: Turn) -> Result<Cycle, String> {
        self.cycles += 1;
        let cpu_before = self.sampler.cpu_seconds();
        let (mut work, start_s) = self.grow(turn)?;
        work += self.work(Phase::Down, self.plan.down())?;
        work += self.work(Phase::Tail, self.plan.tail())?;
        self.check_drained()?;
        let cpu_s = self.sampler.cpu_seconds() - cpu_before;
        let rest = self.rest()?;
        if !self.broker.as_mut().is_some_and(|broker| broker.is_running().unwrap_or(false)) {
            self.fail("the broker has ended by itself".to_owned());
        }
        Ok(Cycle { end_s: self.sampler.seconds(), turn, start_s, work, cpu_s, rest })
    }

    /// What must not happen and has.
    pub(crate) fn failures(&self) -> Vec<String> {
        self.failures.clone()
    }

    /// All samples so far.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        self.sampler.since(0.0)
    }

    /// Since the begin.
    pub(crate) fn minutes(&self) -> f64 {
        self.sampler.seconds() / 60.0
    }

    /// Ends the broker, and says what must not happen and has.
    pub(crate) fn close(mut self) -> Vec<String> {
        if let Err(failure) = self.end(Turn::Stop) {
            self.fail(failure);
        }
        if self.home.log().contains("panicked") {
            let log = self.home.log_tail();
            self.fail(format!("the broker has panicked; its log ends with:\n{log}"));
        }
        self.failures
    }

    /// Backlogs grow; with a turn the broker is ended meanwhile, and started again.
    fn grow(&mut self, turn: Turn) -> Result<(Work, Option<f64>), String> {
        if turn == Turn::None {
            let work = self.work(Phase::Up, self.plan.up())?;
            self.check_backlogs(true)?;
            return Ok((work, None));
        }
        let crew = self.crew(Phase::Up, self.plan.up())?;
        let (mut ended, at) = (Ok(()), self.plan.up().mul_f64(TURN_PART));
        let (work, failures) = crew.work(Some((at, &mut || ended = self.end(turn))));
        failures.into_iter().for_each(|failure| self.fail(failure));
        if let Err(failure) = ended {
            self.fail(failure);
        }
        let started = Instant::now();
        self.start()?;
        let start_s = started.elapsed().as_secs_f64();
        self.check_backlogs(false)?;
        Ok((work, Some(start_s)))
    }

    fn work(&mut self, phase: Phase, length: Duration) -> Result<Work, String> {
        let (work, failures) = self.crew(phase, length)?.work(None);
        failures.into_iter().for_each(|failure| self.fail(failure));
        Ok(work)
    }

    fn crew(&self, phase: Phase, length: Duration) -> Result<Crew<'a>, String> {
        let broker = self.broker.as_ref().ok_or("there is no broker")?;
        let uri = format!("amqp://guest:guest@{}/%2f", broker.address());
        let (generator, interrupted, tail) = (self.binary, self.interrupted, self.plan.tail());
        Ok(Crew { generator, uri, phase, length, tail, interrupted })
    }

    /// Starts a broker and waits until it answers.
    fn start(&mut self) -> Result<(), String> {
        let definitions = self.home.data_dir().with_file_name("definitions.json");
        let arguments =
            ["--log".into(), "warn".into(), "--load-definitions".into(), definitions.into_os_string()];
        let mut broker =
            BrokerProcess::spawn(self.binary, &self.home, arguments).map_err(|error| error.to_string())?;
        self.sampler.watch(broker.pid());
        broker.wait_until_it_accepts(&self.home).map_err(|error| error.to_string())?;
        let address = broker.address();
        self.broker = Some(broker);
        Census::open(address)?.close()
    }

    fn end(&mut self, turn: Turn) -> Result<(), String> {
        self.sampler.leave();
        let broker = self.broker.take().ok_or("there is no broker")?;
        if turn == Turn::Kill {
            return broker.kill().map_err(|error| error.to_string());
        }
        match broker.stop(STOP_TIME_MAX) {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("SIGTERM: the broker ended with {status}: {}", self.home.log_tail())),
            Err(error) => Err(format!("SIGTERM: {error}")),
        }
    }

    /// What was confirmed is there, and what does not outlive a process is there while that lives.
    fn check_backlogs(&mut self, is_same_process: bool) -> Result<(), String> {
        if self.interrupted.load(Relaxed) {
            return Ok(());
        }
        let count = load::backlog(self.plan.up());
        let mut census = self.census()?;
        let transient = if is_same_process { count } else { 0 };
        for (queue, expected) in [("backlog", count), ("backlog-transient", transient)] {
            let ready = census.ready(queue)?;
            if ready != expected {
                self.fail(format!("{queue} has {ready} messages instead of {expected}"));
            }
        }
        census.close()
    }

    fn check_drained(&mut self) -> Result<(), String> {
        if self.interrupted.load(Relaxed) {
            return Ok(());
        }
        let deadline = Instant::now() + DRAIN_TIME_MAX;
        let mut census = self.census()?;
        for queue in DRAINED {
            while census.ready(queue)? > 0 {
                if Instant::now() > deadline {
                    let ready = census.ready(queue)?;
                    self.fail(format!("{queue} still has {ready} messages"));
                    break;
                }
                thread::sleep(Duration::from_millis(200));
            }
        }
        census.close()
    }

    fn census(&self) -> Result<Census, String> {
        Census::open(self.broker.as_ref().ok_or("there is no broker")?.address())
    }

    /// Nobody is connected. The second half is looked at: in the first the broker comes to rest.
    fn rest(&self) -> Result<Rest, String> {
        self.sleep(self.plan.rest() / 2);
        let (from, cpu) = (self.sampler.seconds(), self.sampler.cpu_seconds());
        self.sleep(self.plan.rest() / 2);
        let seconds = self.sampler.seconds() - from;
        let cores = (self.sampler.cpu_seconds() - cpu) / seconds.max(0.001);
        let samples = self.sampler.since(from);
        let middle = |value: fn(&Sample) -> u64| {
            let values: Vec<f64> = samples.iter().map(|sample| value(sample) as f64).collect();
            median(&values).ok_or("the broker could not be looked at")
        };
        Ok(Rest {
            resident: middle(|sample| sample.resident)?,
            descriptors: middle(|sample| sample.descriptors)?,
            disk: middle(|sample| sample.disk)?,
            cores,
        })
    }

    fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.interrupted.load(Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
    }

    fn fail(&mut self, failure: String) {
        println!("  failed: {failure}");
        self.failures.push(format!("cycle {}: {failure}", self.cycles));
    }
}
