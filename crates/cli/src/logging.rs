//! The log, on stderr, above any progress bars.

use std::io;

use indicatif::MultiProgress;
use lifeboat_telemetry::Telemetry;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{GlobalArgs, LogFormat};

/// Starts logging. Without `-v`: what a person running this should know. The spans of the work go nowhere yet.
pub(crate) fn start(globals: &GlobalArgs, bars: &MultiProgress, is_terminal: bool, colored: bool) -> Telemetry {
    // kube logs each request that fails as an error, and the AWS SDK warns where it finds no region in a machine that is
    // none of AWS: what becomes of it is said by those who asked.
    let filter = match (globals.quiet, globals.verbose) {
        (true, _) => "error,kube_client=off",
        (false, 0) => "warn,lifeboat=info,lifeboat_daemon=info,lifeboat_recovery=info,kube_client=off,aws_config=error",
        (false, 1) => {
            "info,lifeboat=debug,lifeboat_daemon=debug,lifeboat_recovery=debug,lifeboat_store=debug,lifeboat_etcd=debug,lifeboat_kubernetes=debug"
        }
        (false, _) => "debug,h2=info,hyper_util=info,rustls=info",
    };
    let log = tracing_subscriber::fmt::layer()
        .with_writer(AboveBars(bars.clone()))
        .with_target(globals.verbose > 0)
        .with_ansi(colored);
    let log = match globals.log_format {
        LogFormat::Json => log.json().boxed(),
        LogFormat::Text if is_terminal => log.without_time().compact().boxed(),
        LogFormat::Text => log.compact().boxed(),
    };
    let (spans, telemetry) = lifeboat_telemetry::layer();
    let registry = tracing_subscriber::registry().with(spans).with(log.with_filter(EnvFilter::new(filter)));
    // A second start, as tests may bring about, keeps the first.
    let _ = registry.try_init();
    telemetry
}

/// Writes to stderr while the bars are out of the way.
#[derive(Clone)]
struct AboveBars(MultiProgress);

impl io::Write for AboveBars {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for AboveBars {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
