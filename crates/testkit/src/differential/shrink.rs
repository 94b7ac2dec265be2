//! Making a script smaller that shows a difference: first steps go, in large pieces and then one by one, then what the steps that are
//! left say is made simpler.
//!
//! Invariant: each script that is kept shows a difference itself.

use std::time::{Duration, Instant};

use super::script::{Action, Script};
use super::view::Played;
use crate::transcript::received::Message;
use crate::transcript::value::Value;

/// How long one script may be worked on.
const TIME_MAX: Duration = Duration::from_secs(90);

/// Where a script differs, how, and what the reference did.
pub(crate) type Shown = (usize, [Vec<String>; 2], Played);

/// The smallest script that was found, with what it has shown; `None` when nothing could be taken away.
pub(crate) fn shrink(
    script: Script,
    step: usize,
    show: &mut dyn FnMut(&Script) -> Result<Option<Shown>, String>,
) -> Result<(Script, Option<Shown>), String> {
    let mut smallest = Smallest { script, shown: None, show, deadline: Instant::now() + TIME_MAX };
    let mut cut = smallest.script.clone();
    cut.steps.truncate(step + 1);
    smallest.try_it(cut)?;
    smallest.drop_steps()?;
    smallest.simplify()?;
    smallest.drop_steps()?;
    Ok((smallest.script, smallest.shown))
}

struct Smallest<'a> {
    script: Script,
    shown: Option<Shown>,
    show: &'a mut dyn FnMut(&Script) -> Result<Option<Shown>, String>,
    deadline: Instant,
}

impl Smallest<'_> {
    /// Keeps the candidate when it shows a difference.
    fn try_it(&mut self, mut candidate: Script) -> Result<bool, String> {
        if candidate == self.script || candidate.steps.is_empty() || Instant::now() > self.deadline {
            return Ok(false);
        }
        let Some(shown) = (self.show)(&candidate)? else { return Ok(false) };
        candidate.steps.truncate(shown.0 + 1);
        self.script = candidate;
        self.shown = Some(shown);
        Ok(true)
    }

    fn drop_steps(&mut self) -> Result<(), String> {
        let mut size = self.script.steps.len() / 2;
        while size > 0 {
            let mut end = self.script.steps.len();
            while end > 0 {
                let start = end.saturating_sub(size);
                let mut candidate = self.script.clone();
                candidate.steps.drain(start..end);
                self.try_it(candidate)?;
                end = start.min(self.script.steps.len());
            }
            size /= 2;
        }
        Ok(())
    }

    fn simplify(&mut self) -> Result<(), String> {
        let mut index = 0;
        while index < self.script.steps.len() {
            let mut variant = 0;
            while let Some(candidate) = self.simpler(index, variant) {
                // What was taken keeps its number: the next variant is another one then.
                if !self.try_it(candidate)? {
                    variant += 1;
                }
                if index >= self.script.steps.len() {
                    break;
                }
            }
            index += 1;
        }
        Ok(())
    }

    /// The script with one thing less in a step; `None` when there are no more things.
    fn simpler(&self, index: usize, variant: usize) -> Option<Script> {
        let mut script = self.script.clone();
        let step = script.steps.get_mut(index)?;
        let Action::Say(message) = &mut step.action else { return None };
        *message = simpler_messages(message).into_iter().nth(variant)?;
        Some(script)
    }
}

/// All messages that have one thing less than this one.
fn simpler_messages(message: &Message) -> Vec<Message> {
    let mut messages = Vec::new();
    for (index, value) in message.fields.iter().enumerate() {
        let mut values = Vec::new();
        match value {
            Value::Bool(true) => values.push(Value::Bool(false)),
            Value::Table(_) => values.extend(smaller_tables(value)),
            _ => {}
        }
        for value in values {
            let mut simpler = message.clone();
            simpler.fields[index] = value;
            messages.push(simpler);
        }
    }
    let Some(content) = &message.content else { return messages };
    for (index, property) in content.properties.iter().enumerate() {
        let Some(value) = property else { continue };
        let values = std::iter::once(None).chain(smaller_tables(value).into_iter().map(Some));
        for value in values {
            let mut simpler = message.clone();
            if let Some(content) = &mut simpler.content {
                content.properties[index] = value;
            }
            messages.push(simpler);
        }
    }
    if content.body.len() > 8 {
        let mut simpler = message.clone();
        if let Some(content) = &mut simpler.content {
            content.body = b"x".to_vec();
        }
        messages.push(simpler);
    }
    messages
}

/// The table without one of its entries, for each of them.
fn smaller_tables(value: &Value) -> Vec<Value> {
    let Value::Table(entries) = value else { return Vec::new() };
    let without = |index: usize| {
        let mut entries = entries.clone();
        entries.remove(index);
        Value::Table(entries)
    };
    (0..entries.len()).map(without).collect()
}

#[cfg(test)]
mod tests {
    use super::super::script::{Step, method};
    use super::*;

    #[test]
    fn what_does_not_matter_goes() {
        let say = |text: &str| Step { connection: 1, action: Action::Say(method(text)) };
        let mut steps: Vec<Step> = (0..9).map(|_| say("basic.qos 1 0 1")).collect();
        steps.insert(
            4,
            say("queue.declare 1 queue=q durable=true exclusive=true arguments={a:int8:1,b:int8:2}"),
        );
        let script = Script { seed: 1, steps };
        // The difference shows where a queue is exclusive and has the argument b.
        let mut show = |candidate: &Script| {
            let shows = |step: &Step| {
                step.to_string().contains("exclusive=true") && step.to_string().contains("b:int8:2")
            };
            Ok(candidate
                .steps
                .iter()
                .position(shows)
                .map(|step| (step, [Vec::new(), Vec::new()], Played::default())))
        };
        let (smallest, shown) = shrink(script, 9, &mut show).unwrap();
        assert!(shown.is_some());
        assert_eq!(
            smallest.to_string(),
            "1: C queue.declare 1 queue=q exclusive=true arguments={b:int8:2}\n"
        );
    }
}
