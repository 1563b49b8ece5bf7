//! The log, on stderr, above any progress bars.

use std::io;

use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::args::{GlobalArgs, LogFormat};

/// Starts logging. Without `-v`: what a person running this should know.
pub(crate) fn start(globals: &GlobalArgs, bars: &MultiProgress, is_terminal: bool, colored: bool) {
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
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(AboveBars(bars.clone()))
        .with_target(globals.verbose > 0)
        .with_ansi(colored);
    // A second start, as tests may bring about, keeps the first.
    let _ = match globals.log_format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text if is_terminal => builder.without_time().compact().try_init(),
        LogFormat::Text => builder.compact().try_init(),
    };
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
