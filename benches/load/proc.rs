//! What the kernel counts of a process: CPU time and memory.

use std::fs;
use std::io;
use std::time::Duration;

/// A tick of `/proc/PID/stat`: Linux reports 100 a second to every program, whatever its own clock does.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that the threads of a process have used, user and system, to the nanosecond where the kernel keeps scheduler
/// statistics and else to the tick. Time of threads that have ended is in the ticks only.
pub(crate) fn cpu(pid: u32) -> io::Result<Duration> {
    let mut nanoseconds = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end between the listing and the reading.
        let Ok(text) = fs::read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_ascii_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0_u64);
    }
    if nanoseconds == 0 { ticks(pid) } else { Ok(Duration::from_nanos(nanoseconds)) }
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
