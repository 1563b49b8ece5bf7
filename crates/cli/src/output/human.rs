//! Figures and texts for people.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use clap::builder::styling::{AnsiColor, Style as AnsiStyle};
use jiff::Timestamp;

/// Whether and how to colour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Style {
    /// Escape sequences may be written.
    pub(crate) colored: bool,
}

impl Style {
    pub(crate) fn good(self, text: &str) -> String {
        self.paint(AnsiColor::Green.on_default(), text)
    }

    pub(crate) fn warning(self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    pub(crate) fn bad(self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default().bold(), text)
    }

    pub(crate) fn strong(self, text: &str) -> String {
        self.paint(AnsiStyle::new().bold(), text)
    }

    fn paint(self, style: AnsiStyle, text: &str) -> String {
        if self.colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }
}

/// Whether a terminal would not show it as it is: control characters, which may move the cursor or rename the window,
/// and the marks that reorder or hide text (Unicode Standard Annex 9; "Trojan Source", CVE-2021-42574).
pub(super) fn is_deceptive(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// A text from elsewhere in a form that a terminal cannot be deceived by: what it would obey is spelt out.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_deceptive) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_deceptive(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    Cow::Owned(shown)
}

/// A size in binary units.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let mut value = count as f64 / 1024.0;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1023.95 {
        value /= 1024.0;
        unit = units.next();
    }
    format!("{value:.1} {}", unit.unwrap_or(&"EiB"))
}

/// A length of time, to three digits or so.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0 => format!("{} ms", time.as_millis()),
        1..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// How long ago that was, in one unit, as kubectl shows ages.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second() - then.as_second();
    let (sign, seconds) = if seconds < 0 { ("-", -seconds) } else { ("", seconds) };
    let (count, unit) = match seconds {
        0..120 => (seconds, "s"),
        120..7_200 => (seconds / 60, "m"),
        7_200..172_800 => (seconds / 3_600, "h"),
        172_800..63_072_000 => (seconds / 86_400, "d"),
        _ => (seconds / 31_536_000, "y"),
    };
    format!("{sign}{count}{unit}")
}

/// A point in time: UTC to the second, and how long ago.
pub(crate) fn moment(now: Timestamp, then: Timestamp) -> String {
    let mut text = then.strftime("%Y-%m-%d %H:%M:%SZ").to_string();
    // Writing into a String cannot fail.
    let _ = write!(text, " ({} ago)", ago(now, then));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(bytes(5 << 30), "5.0 GiB");
        assert_eq!(bytes(u64::MAX), "16.0 EiB");
    }

    #[test]
    fn times() {
        assert_eq!(duration(Duration::from_millis(20)), "20 ms");
        assert_eq!(duration(Duration::from_millis(2_345)), "2.3 s");
        assert_eq!(duration(Duration::from_secs(200)), "3 min 20 s");
        assert_eq!(duration(Duration::from_secs(8_000)), "2 h 13 min");
        let now: Timestamp = "2026-11-21T04:45:00Z".parse().unwrap();
        let before = |seconds: i64| ago(now, Timestamp::from_second(now.as_second() - seconds).unwrap());
        assert_eq!(before(119), "119s");
        assert_eq!(before(7_199), "119m");
        assert_eq!(before(3 * 3600), "3h");
        assert_eq!(before(3 * 86_400), "3d");
        assert_eq!(before(800 * 86_400), "2y");
        assert_eq!(before(-60), "-60s");
        let then = "2026-11-21T01:44:59.9Z".parse().unwrap();
        assert_eq!(moment(now, then), "2026-11-21 01:44:59Z (3h ago)");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelt_out() {
        assert_eq!(printable("web-1 é 漢"), "web-1 é 漢");
        assert_eq!(printable("a\u{1b}]0;pwned\u{7}b"), "a\\u{1b}]0;pwned\\u{7}b");
        assert_eq!(printable("a\u{9b}31mb\u{7f}\r\nc\td"), "a\\u{9b}31mb\\u{7f}\\r\\nc\\td");
        assert_eq!(printable("user\u{202e}txt.exe\u{200b}"), "user\\u{202e}txt.exe\\u{200b}");
    }
}
