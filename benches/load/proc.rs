//! What the kernel counts of a process: CPU time and memory.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::time::Duration;

use crate::figures::per;

/// A tick of `/proc/PID/stat`: Linux reports 100 a second to every program, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// CPU time, user and system, of a process's threads by name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cpu(BTreeMap<String, Duration>);

impl Cpu {
    /// What the threads of a process have used since it began: to the nanosecond where the kernel keeps scheduler
    /// statistics, else to the tick and all threads in one. What a thread used that has ended is in the ticks only.
    pub(crate) fn of(pid: u32) -> io::Result<Cpu> {
        let mut cpu = Cpu::default();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?.path();
            // A thread may end between the listing and the reading.
            let (Ok(name), Ok(text)) =
                (fs::read_to_string(task.join("comm")), fs::read_to_string(task.join("schedstat")))
            else {
                continue;
            };
            let used = text.split_ascii_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0);
            *cpu.0.entry(name.trim().to_owned()).or_default() += Duration::from_nanos(used);
        }
        if cpu.total().is_zero() {
            cpu.0 = BTreeMap::from([("all threads".to_owned(), ticks(pid)?)]);
        }
        Ok(cpu)
    }

    /// What was used since an earlier reading.
    pub(crate) fn since(&self, earlier: &Cpu) -> Cpu {
        let used = |name: &String, now: Duration| now.saturating_sub(earlier.0.get(name).copied().unwrap_or_default());
        Cpu(self.0.iter().map(|(name, now)| (name.clone(), used(name, *now))).collect())
    }

    /// Of some threads, by what their names begin with.
    pub(crate) fn of_threads(&self, names: &[&str]) -> Duration {
        let is_one = |name: &str| names.iter().any(|one| name.starts_with(one));
        self.0.iter().filter(|(name, _)| is_one(name)).map(|(_, used)| *used).sum()
    }

    pub(crate) fn total(&self) -> Duration {
        self.0.values().sum()
    }

    /// Each thread's part of the whole, the greatest first; those below a hundredth are left out.
    pub(crate) fn parts(&self) -> String {
        let total = self.total().as_secs_f64();
        let mut parts: Vec<(f64, &str)> =
            self.0.iter().map(|(name, used)| (per(used.as_secs_f64() * 100.0, total), name.as_str())).collect();
        parts.sort_by(|a, b| b.0.total_cmp(&a.0));
        let parts: Vec<String> =
            parts.iter().filter(|(part, _)| *part >= 1.0).map(|(part, name)| format!("{name} {part:.0} %")).collect();
        parts.join(", ")
    }
}

fn ticks(pid: u32) -> io::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in brackets may hold blanks and brackets of its own; utime and stime are the 12th and 13th field after it.
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let ticks: u32 =
        fields.split_ascii_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
    Ok(TICK * ticks)
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident.
    pub(crate) rss: f64,
    /// Resident, what is shared with others divided among them.
    pub(crate) pss: f64,
}

pub(crate) fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0.0)
    };
    Ok(Memory { rss: field("Rss:"), pss: field("Pss:") })
}

/// The machine in one line: figures of two machines do not compare.
pub(crate) fn machine() -> String {
    let line = |path: &str| fs::read_to_string(path).map_or_else(|_| "?".to_owned(), |text| text.trim().to_owned());
    let model = fs::read_to_string("/proc/cpuinfo").ok().and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    });
    let load = line("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(1).collect();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "{} · {cores} cores · Linux {} · load average {}",
        model.unwrap_or_else(|| "CPU unknown".to_owned()),
        line("/proc/sys/kernel/osrelease"),
        load.concat()
    )
}
