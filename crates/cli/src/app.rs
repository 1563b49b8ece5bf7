//! What every command is given.

use std::io::{self, IsTerminal};
use std::path::PathBuf;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use indicatif::{MultiProgress, ProgressDrawTarget};
use lifeboat_model::Config;
use lifeboat_recovery::chain;
use lifeboat_telemetry::Telemetry;
use tokio_util::sync::CancellationToken;

use crate::args::{ColorWhen, Format, GlobalArgs};
use crate::config_file::{self, Loaded};
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::interrupt;
use crate::logging;
use crate::output::{Output, Style};

/// The surroundings of a command.
pub(crate) struct App {
    pub(crate) globals: GlobalArgs,
    pub(crate) environment: Environment,
    pub(crate) output: Output,
    pub(crate) bars: MultiProgress,
    /// Style of what goes to stderr.
    pub(crate) style: Style,
    /// The way of spans to a collector, where the configuration names one.
    pub(crate) telemetry: Telemetry,
}

impl App {
    /// Takes in the process' surroundings, and starts the log.
    pub(crate) fn new(globals: GlobalArgs) -> Self {
        let environment = Environment::of_process();
        let is_terminal = io::stderr().is_terminal();
        let shows_bars = is_terminal && !globals.quiet && globals.log_format == crate::args::LogFormat::Text;
        let target = if shows_bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bars = MultiProgress::with_draw_target(target);
        let style = Style { colored: is_colored(&globals, &environment, is_terminal) };
        let stdout = Style { colored: is_colored(&globals, &environment, io::stdout().is_terminal()) };
        let telemetry = logging::start(&globals, &bars, is_terminal, style.colored);
        let output = Output::new(globals.output, stdout);
        Self { globals, environment, output, bars, style, telemetry }
    }

    /// Whether a failure is to be reported as JSON.
    pub(crate) fn reports_json(&self) -> bool {
        self.globals.output == Some(Format::Json) && !self.output.is_started()
    }

    /// The configuration, with warnings about it logged. `options` are settings given by options of their own.
    pub(crate) fn config(&self, options: &[(&'static str, String)]) -> Result<Config> {
        let Loaded { config, warnings, path } = config_file::load(&self.globals, &self.environment, options)?;
        tracing::debug!(path = path.as_ref().map(|path| path.display().to_string()), "configuration loaded");
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        if let Some(otlp) = &config.telemetry.otlp {
            let facts = [
                ("service.version", env!("CARGO_PKG_VERSION").to_owned()),
                ("k8s.cluster.name", config.cluster.name.to_string()),
            ];
            // What watches the work must not be what keeps it from being done.
            if let Err(error) = self.telemetry.begin(otlp, &facts) {
                tracing::warn!(error = chain(&error), "no spans are sent");
            }
        }
        Ok(config)
    }

    /// The program that rebuilds data directories: as given, or found in PATH.
    pub(crate) fn etcdutl(&self, given: Option<&PathBuf>) -> Option<PathBuf> {
        given.cloned().or_else(|| self.environment.find_program("etcdutl"))
    }
}

/// Runs asynchronous work, which a signal cancels through the token.
pub(crate) fn block_on<T>(work: impl AsyncFnOnce(CancellationToken) -> Result<T>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(16)
        .enable_all()
        .build()
        .map_err(Error::Runtime)?;
    let result = runtime.block_on(async {
        let cancel = CancellationToken::new();
        interrupt::watch(cancel.clone())?;
        work(cancel).await
    });
    // What is left is at most a read from a terminal, which nothing ends.
    runtime.shutdown_background();
    result
}

/// Ends work that leaves nothing behind when it is dropped as soon as the token is cancelled.
pub(crate) fn unless_cancelled<'a, T: 'a>(
    cancel: &'a CancellationToken,
    work: impl Future<Output = Result<T>> + 'a,
) -> LocalBoxFuture<'a, Result<T>> {
    let work = Box::pin(work);
    async { cancel.run_until_cancelled(work).await.unwrap_or(Err(Error::Interrupted)) }.boxed_local()
}

/// The convention of <https://no-color.org>: set and not empty means no.
fn is_colored(globals: &GlobalArgs, environment: &Environment, is_terminal: bool) -> bool {
    match globals.color {
        ColorWhen::Always => true,
        ColorWhen::Never => false,
        ColorWhen::Auto => {
            is_terminal && environment.get("NO_COLOR").is_none() && environment.get("TERM") != Some("dumb")
        }
    }
}
