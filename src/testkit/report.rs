//! Figures of a benchmark: percentiles, medians, memory of a process, and the table that shows them.

use std::io::Write;
use std::time::Duration;

/// The value below which `share` (0 to 1) of the values lie; zero without values.
pub fn percentile(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let last = values.len().saturating_sub(1);
    let at = (share * last as f64).round();
    values.get(at as usize).copied().unwrap_or_default()
}

/// The value in the middle; zero without values.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// Milliseconds with two decimals.
pub fn ms(span: Duration) -> String {
    format!("{:.2} ms", span.as_secs_f64() * 1000.0)
}

/// The memory that a process (`self` or its number) holds, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn resident_bytes(process: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages: u64 = text.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(pages * u64::try_from(rustix::param::page_size()).unwrap_or(4096))
}

/// The most memory that a process has held so far, in bytes.
///
/// # Errors
/// When there is no such process.
pub fn peak_bytes(process: &str) -> std::io::Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0);
    Ok(kib * 1024)
}

/// The processor time that a process has used, in seconds.
///
/// # Errors
/// When there is no such process.
pub fn processor_seconds(process: &str) -> std::io::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name may hold anything; what follows it is numbers, user and system time as 12th and 13th.
    let numbers = text.rsplit(')').next().unwrap_or_default().split_whitespace();
    let ticks: u64 = numbers.skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Lets this process and its children open `wanted` files, or as many as it may.
///
/// # Errors
/// When the system refuses.
pub fn raise_open_file_limit(wanted: u64) -> std::io::Result<()> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// The table that a benchmark prints.
pub struct Report {
    rows: Vec<[String; 4]>,
}

impl Report {
    /// An empty table under its headings.
    pub fn new() -> Self {
        Self { rows: vec![["what", "figure", "ratio", "reach"].map(str::to_owned)] }
    }

    /// Adds a row; `-` stands for what a row does not have.
    pub fn row(&mut self, what: &str, figure: impl Into<String>, ratio: impl Into<String>, reach: &str) {
        self.rows.push([what.to_owned(), figure.into(), ratio.into(), reach.to_owned()]);
    }

    /// Prints it under the command that made it.
    pub fn print(&self, command: &str) {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let width = |at: usize| self.rows.iter().map(|row| row[at].chars().count()).max().unwrap_or(0);
        let widths = [width(0), width(1), width(2), width(3)];
        let mut text = format!("{command} ({cores} cores)\n");
        for row in &self.rows {
            for (cell, width) in row.iter().zip(widths) {
                text.push_str(&format!("{cell:width$}  "));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        // Stdout may be closed.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentile_is_a_measured_value() {
        let mut values: Vec<Duration> = (0..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&mut values, 0.5), Duration::from_millis(50));
        assert_eq!(percentile(&mut values, 0.99), Duration::from_millis(99));
        assert_eq!(percentile(&mut [], 0.5), Duration::ZERO);
        assert!((median(vec![3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn process_reports_memory_and_processor_time() {
        assert!(resident_bytes("self").unwrap() > 0);
        assert!(processor_seconds("self").unwrap() >= 0.0);
        assert!(resident_bytes("0").is_err());
    }
}
