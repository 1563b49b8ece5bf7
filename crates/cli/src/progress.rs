//! What a person sees of work under way: bars on a terminal, now and then a line in the log elsewhere.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use lifeboat_recovery::{Progress, ProgressSnapshot, Track};

use crate::output::bytes;

/// How often bars are drawn.
const REDRAW: Duration = Duration::from_millis(100);
/// How often the log says how far it is.
const REPORT: Duration = Duration::from_secs(30);

/// One line of work and its bar.
struct Line {
    name: &'static str,
    track: Track,
    bar: ProgressBar,
}

impl Line {
    fn new(bars: &MultiProgress, name: &'static str, track: &Track) -> Self {
        let bar = bars.add(ProgressBar::no_length().with_style(style()).with_prefix(name));
        Self { name, track: track.clone(), bar }
    }

    fn draw(&self, elapsed: Duration) {
        let now = self.track.snapshot();
        if now.total_bytes > 0 {
            self.bar.set_length(now.total_bytes);
            self.bar.set_position(now.bytes.min(now.total_bytes));
        }
        self.bar.set_message(describe(now, elapsed));
        self.bar.tick();
    }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{prefix:9} {bar:24} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// As `120.0 MiB of 1.2 GiB, 3000 objects, 40.0 MiB/s, 12.1 MiB stored`.
fn describe(now: ProgressSnapshot, elapsed: Duration) -> String {
    // Writing into a String cannot fail.
    let mut words = bytes(now.bytes);
    if now.total_bytes > 0 {
        let _ = write!(words, " of {}", bytes(now.total_bytes.max(now.bytes)));
    }
    if now.objects > 0 {
        let _ = write!(words, ", {} objects", now.objects);
    }
    let milliseconds = elapsed.as_millis().max(1);
    let rate = u128::from(now.bytes) * 1000 / milliseconds;
    let _ = write!(words, ", {}/s", bytes(u64::try_from(rate).unwrap_or(u64::MAX)));
    let _ = write!(words, ", {} stored", bytes(now.stored_bytes));
    words
}

/// Runs work and shows its progress meanwhile.
pub(crate) async fn watch<T>(bars: &MultiProgress, progress: &Progress, work: impl Future<Output = T>) -> T {
    let lines = [Line::new(bars, "etcd", &progress.etcd), Line::new(bars, "objects", &progress.resources)];
    let result = tokio::select! {
        result = work => result,
        never = show(bars, &lines) => match never {},
    };
    for line in lines {
        line.bar.finish_and_clear();
    }
    result
}

/// Runs work that counts objects, of `total` where that is known, and shows how far it is.
pub(crate) async fn count<T>(
    bars: &MultiProgress,
    name: &'static str,
    track: &Track,
    total: Option<u64>,
    work: impl Future<Output = T>,
) -> T {
    let bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
    let bar = bars.add(bar.with_style(style()).with_prefix(name));
    let shown = async {
        let begun = Instant::now();
        let mut timer = tokio::time::interval(if bars.is_hidden() { REPORT } else { REDRAW });
        timer.tick().await;
        loop {
            timer.tick().await;
            let words = objects(track.snapshot().objects, total, begun.elapsed());
            if bars.is_hidden() {
                tracing::info!("{name}: {words}");
            } else {
                bar.set_position(track.snapshot().objects);
                bar.set_message(words);
                bar.tick();
            }
        }
    };
    let result = tokio::select! {
        result = work => result,
        never = shown => match never {},
    };
    bar.finish_and_clear();
    result
}

/// As `1200 of 30000 objects, 1100/s`.
fn objects(count: u64, total: Option<u64>, elapsed: Duration) -> String {
    let total = total.map(|total| format!(" of {total}")).unwrap_or_default();
    let rate = u128::from(count) * 1000 / elapsed.as_millis().max(1);
    format!("{count}{total} objects, {rate}/s")
}

async fn show(bars: &MultiProgress, lines: &[Line]) -> std::convert::Infallible {
    let begun = Instant::now();
    let mut timer = tokio::time::interval(if bars.is_hidden() { REPORT } else { REDRAW });
    timer.tick().await;
    loop {
        timer.tick().await;
        for line in lines {
            if bars.is_hidden() {
                let now = line.track.snapshot();
                if now.bytes > 0 {
                    tracing::info!("{}: {}", line.name, describe(now, begun.elapsed()));
                }
            } else {
                line.draw(begun.elapsed());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_in_words() {
        assert_eq!(objects(1200, Some(30_000), Duration::from_secs(2)), "1200 of 30000 objects, 600/s");
        assert_eq!(objects(5, None, Duration::from_secs(1)), "5 objects, 5/s");
    }

    #[test]
    fn progress_in_words() {
        let mut now = ProgressSnapshot { bytes: 10 << 20, stored_bytes: 1 << 20, ..ProgressSnapshot::default() };
        let second = Duration::from_secs(1);
        assert_eq!(describe(now, second), "10.0 MiB, 10.0 MiB/s, 1.0 MiB stored");
        now.total_bytes = 20 << 20;
        now.objects = 7;
        assert_eq!(describe(now, second * 2), "10.0 MiB of 20.0 MiB, 7 objects, 5.0 MiB/s, 1.0 MiB stored");
    }
}
