//! `counts NAME [MESSAGES]` does one piece of work, and says how many messages that were; without a name it lists all.

use std::process::ExitCode;

use warrenmq_counts::{Subject, meter, subjects};

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let Some(name) = words.next() else {
        for subject in subjects() {
            println!("{}\t{}\t{}", subject.name, subject.messages, subject.about);
        }
        return ExitCode::SUCCESS;
    };
    let Some(subject) = subjects().into_iter().find(|subject| subject.name == name) else {
        eprintln!("there is no {name:?}");
        return ExitCode::FAILURE;
    };
    let messages = match words.next().map(|word| word.parse()) {
        None => subject.messages,
        Some(Ok(messages)) => messages,
        Some(Err(error)) => {
            eprintln!("how many messages? {error}");
            return ExitCode::FAILURE;
        }
    };
    println!("{}", count(&subject, messages));
    ExitCode::SUCCESS
}

/// Warms up with a quarter, so that buffers have their size, then does at least so many messages; says how many they were.
fn count(subject: &Subject, messages: u64) -> u64 {
    let mut work = (subject.ready)();
    meter::warm_up(|| {
        let mut done = 0;
        while done < messages / 4 {
            done += work.work();
        }
    });
    let mut done = 0;
    while done < messages {
        done += work.work();
    }
    done
}
