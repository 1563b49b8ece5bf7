//! `doctor`: every prerequisite, tried for real.

mod etcd;
mod keys;
mod kubernetes;
mod program;
mod store;

use std::fmt::Write as _;

use jiff::SignedDuration;
use lifeboat_model::Config;
use lifeboat_recovery::chain;
use serde::Serialize;

use crate::app::{App, block_on, unless_cancelled};
use crate::args::DoctorArgs;
use crate::error::{Error, Result};
use crate::exit::ExitCode;
use crate::output::{Report, Style, View, printable};
use crate::sources;

/// The largest difference of clocks that troubles nobody. S3 refuses requests that are 15 minutes off.
const SKEW: SignedDuration = SignedDuration::from_secs(30);

/// What came out of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
enum State {
    Ok,
    /// It works, and something should be done all the same.
    Warn,
    Fail,
}

/// One prerequisite.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    state: State,
    detail: String,
    /// What to do about it.
    remedy: Option<String>,
}

impl Check {
    fn ok(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Ok, detail: detail.into(), remedy: None }
    }

    fn warn(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Warn, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    fn fail(name: impl Into<String>, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name: name.into(), state: State::Fail, detail: detail.into(), remedy: Some(remedy.into()) }
    }

    /// A check that ended in an error, with that error's own advice.
    fn error(name: impl Into<String>, error: impl Into<Error>) -> Self {
        let error = error.into();
        let remedy = error.hint().filter(|hint| !hint.contains("lifeboat doctor"));
        Self { name: name.into(), state: State::Fail, detail: chain(&error), remedy }
    }

    fn line(&self, style: Style) -> String {
        let state = match self.state {
            State::Ok => style.good("ok  "),
            State::Warn => style.warning("warn"),
            State::Fail => style.bad("fail"),
        };
        let mut line = format!("{state}  {}: {}\n", printable(&self.name), printable(&self.detail));
        if let Some(remedy) = &self.remedy {
            let _ = writeln!(line, "      -> {}", printable(remedy));
        }
        line
    }
}

#[derive(Debug, Serialize)]
struct Diagnosis {
    schema: &'static str,
    /// Whether no check failed.
    ok: bool,
    checks: Vec<Check>,
}

impl Report for Diagnosis {
    fn text(&self, view: &View) -> String {
        self.checks.iter().map(|check| check.line(view.style)).collect()
    }
}

pub(crate) fn run(app: &App, arguments: &DoctorArgs) -> Result<ExitCode> {
    let checks = match app.config(&sources::overrides(&arguments.cluster)) {
        Err(error) => vec![Check::error("configuration", error)],
        Ok(config) => block_on(async |cancel| {
            unless_cancelled(&cancel, async { Ok(Box::pin(all(app, arguments, &config)).await) }).await
        })?,
    };
    let ok = checks.iter().all(|check| check.state != State::Fail);
    app.output.print(&Diagnosis { schema: "lifeboat.dev/doctor/v1", ok, checks })?;
    Ok(if ok { ExitCode::Done } else { ExitCode::Failed })
}

/// All checks, what answers over a network at the same time.
async fn all(app: &App, arguments: &DoctorArgs, config: &Config) -> Vec<Check> {
    let mut checks = vec![Check::ok("configuration", format!("cluster '{}'", config.cluster.name))];
    checks.extend(keys::check(config, &arguments.identity));
    let (etcd, kubernetes, store) =
        tokio::join!(etcd::check(config.etcd.as_ref()), kubernetes::check(config), store::check(config));
    checks.extend(etcd.into_iter().chain(kubernetes).chain(store));
    checks.push(program::check(app, arguments.etcdutl.etcdutl.as_ref(), config.etcd.is_some()).await);
    checks
}

/// What is to be said of a clock that is that much ahead of ours.
fn clock(name: &str, ahead: SignedDuration) -> Check {
    let seconds = ahead.as_secs();
    let detail = match seconds {
        0 => "the same as here".to_owned(),
        1.. => format!("{seconds} s ahead of here"),
        _ => format!("{} s behind here", -seconds),
    };
    if ahead.abs() <= SKEW {
        return Check::ok(name, detail);
    }
    Check::warn(name, detail, "set the clock of this machine, or of that one, by NTP")
}
