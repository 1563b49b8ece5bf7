//! A drill as metrics for the textfile collector of Prometheus' node exporter.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::fmt::Write as _;

use super::form::DrillForm;

/// The metrics.
pub(super) fn text(form: &DrillForm) -> String {
    let labels = format!("cluster=\"{}\",tier=\"{}\"", form.cluster, form.tier);
    let mut text = String::new();
    let mut gauge = |name: &str, help: &str, samples: &[(String, f64)]| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for (more, value) in samples {
            let _ = writeln!(text, "{name}{{{labels}{more}}} {value}");
        }
    };
    let one = |value: f64| vec![(String::new(), value)];
    let number = |flag: bool| one(f64::from(u8::from(flag)));
    gauge("lifeboat_drill_passed", "Whether the drill passed and met every target.", &number(form.passed));
    gauge("lifeboat_drill_restores", "Whether the backup restores.", &number(form.restores));
    #[expect(clippy::cast_precision_loss, reason = "a point in time fits")]
    let started = form.started_at.as_second() as f64;
    gauge("lifeboat_drill_timestamp_seconds", "When the drill was begun.", &one(started));
    let phases: Vec<(String, f64)> =
        form.phases.iter().map(|phase| (format!(",phase=\"{}\"", phase.name), phase.seconds)).collect();
    gauge("lifeboat_drill_phase_seconds", "How long each phase took.", &phases);
    if let Some(rto) = form.rto_seconds {
        gauge("lifeboat_drill_rto_seconds", "From the command to every object readable.", &one(rto));
    }
    #[expect(clippy::cast_precision_loss, reason = "a length of time in seconds fits")]
    if let Some(rpo) = form.rpo_seconds {
        gauge("lifeboat_drill_rpo_seconds", "The age of the backup when it was drilled.", &one(rpo as f64));
    }
    let mut codes = std::collections::BTreeMap::new();
    for found in &form.findings {
        *codes.entry(found.code.name()).or_insert(0.0) += 1.0;
    }
    let codes: Vec<(String, f64)> =
        codes.into_iter().map(|(code, count)| (format!(",code=\"{code}\""), count)).collect();
    gauge("lifeboat_drill_findings", "Findings, by code.", &codes);
    text
}
