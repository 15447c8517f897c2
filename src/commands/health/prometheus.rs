//! A report as metrics: Prometheus' text exposition format, version 0.0.4.
//!
//! Names begin with `pachat_` and end in their unit, which is a base unit: seconds, bytes,
//! dollars. Everything is a gauge: the spans slide, so no count only grows.

use crate::ops::health::Report;
use crate::ops::statistics::{Span, Statistics};

/// The document.
pub(super) fn text(report: &Report) -> String {
    let mut out = Exposition::default();
    out.family(
        "health_status",
        "How everything is: 0 healthy, 1 degraded, 2 unhealthy",
    );
    out.sample(&[], f64::from(report.status().number()));
    out.family("health_timestamp_seconds", "When this was looked at");
    #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit")]
    out.sample(&[], report.at.as_millisecond() as f64 / 1e3);
    out.family("build_info", "Which pachat this is");
    out.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    out.family(
        "probe_status",
        "How a probe is: 0 ok, 1 degraded, 2 unhealthy; none if it was skipped",
    );
    for probe in &report.probes {
        if probe.status() != crate::ops::health::Status::Skipped {
            let value = f64::from(probe.status().number());
            out.sample(&[("probe", probe.name)], value);
        }
    }
    if report.probes.iter().any(|probe| !probe.problems.is_empty()) {
        out.family("probe_problem", "What is wrong");
        for probe in &report.probes {
            let mut told: Vec<&str> = Vec::new();
            for problem in &probe.problems {
                // One of a kind: two samples with the same labels are an error.
                if !told.contains(&problem.code) {
                    told.push(problem.code);
                    out.sample(&[("probe", probe.name), ("code", problem.code)], 1.0);
                }
            }
        }
    }
    for metric in report.probes.iter().flat_map(|probe| &probe.metrics) {
        out.family(metric.name, metric.about);
        out.sample(&[], metric.value);
    }
    if let Some(statistics) = &report.statistics {
        add(statistics, &mut out);
    }
    out.0
}

fn add(statistics: &Statistics, out: &mut Exposition) {
    #[expect(clippy::cast_precision_loss, reason = "monitoring counts in floats")]
    let number = |count: u64| count as f64;
    let windows = Span::ALL.map(|span| (span.as_str(), statistics.window(span)));
    out.family("requests", "Requests in a span up to now");
    for (span, window) in windows {
        out.sample(&[("window", span)], number(window.requests));
    }
    out.family("requests_failed", "Failed requests in a span up to now");
    for (span, window) in windows {
        out.sample(&[("window", span)], number(window.failed));
    }
    out.family(
        "response_seconds",
        "How long requests took that came to their end: to the first piece, and altogether",
    );
    for (span, window) in windows {
        for (phase, latency) in [
            ("first_byte", window.first_byte_ms),
            ("total", window.total_ms),
        ] {
            let Some(latency) = latency else { continue };
            for (statistic, value) in [
                ("average", latency.average),
                ("p50", latency.p50),
                ("p95", latency.p95),
            ] {
                let labels = [("window", span), ("phase", phase), ("statistic", statistic)];
                out.sample(&labels, number(value) / 1e3);
            }
        }
    }
    out.family("tokens", "Tokens in a span up to now");
    for (span, window) in windows {
        for (direction, count) in [
            ("prompt", window.prompt_tokens),
            ("completion", window.completion_tokens),
        ] {
            out.sample(&[("window", span), ("direction", direction)], number(count));
        }
    }
    out.family("cost_usd", "What servers charged in a span up to now");
    for (span, window) in windows {
        let cost = window.cost.to_string().parse().unwrap_or(f64::NAN);
        out.sample(&[("window", span)], cost);
    }
}

/// The text in the making.
#[derive(Default)]
struct Exposition(String, &'static str);

impl Exposition {
    /// Begins a metric. All its samples follow at once, as the format demands.
    fn family(&mut self, name: &'static str, about: &str) {
        let about = about.replace('\\', "\\\\").replace('\n', "\\n");
        self.0.push_str(&format!(
            "# HELP pachat_{name} {about}.\n# TYPE pachat_{name} gauge\n"
        ));
        self.1 = name;
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", escaped(value)))
            .collect();
        let labels = if labels.is_empty() {
            String::new()
        } else {
            format!("{{{}}}", labels.join(","))
        };
        self.0
            .push_str(&format!("pachat_{}{labels} {value}\n", self.1));
    }
}

/// The value of a label: backslash, quote and line feed would end it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut out = Exposition::default();
        out.family("x", "a\nb");
        out.sample(&[("l", "a\\b\"c\nd")], 0.5);
        assert_eq!(
            out.0,
            "# HELP pachat_x a\\nb.\n# TYPE pachat_x gauge\npachat_x{l=\"a\\\\b\\\"c\\nd\"} 0.5\n"
        );
    }
}
