//! The time of what `cargo xtask counts` counts: `cargo bench -p warrenmq-counts [-- NAME]`, in nanoseconds per message.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warrenmq_counts::{Work, meter, subjects};

criterion_group!(benches, messages);
criterion_main!(benches);

fn messages(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("message");
    group.throughput(Throughput::Elements(1));
    for subject in subjects() {
        // Made when its turn has come: a filter may have left it out.
        let mut work = None;
        group.bench_function(subject.name, |bencher| {
            let work = work.get_or_insert_with(&subject.ready);
            bencher.iter_custom(|messages| time(work.as_mut(), messages));
        });
    }
    group.finish();
}

/// Batches have their own size: the time of so many messages is a part of that of somewhat more.
fn time(work: &mut dyn Work, messages: u64) -> Duration {
    let mut done = 0;
    let time = meter::time(|| {
        while done < messages {
            done += work.work();
        }
    });
    time.mul_f64(messages as f64 / done.max(1) as f64)
}
