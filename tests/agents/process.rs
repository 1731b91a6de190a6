//! A program that a test starts and that does not outlive it.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::until;

/// Seconds that a program may live, whatever becomes of the test.
const LIFE: &str = "150";
/// Seconds that it may take to end when it is asked to.
const GRACE: &str = "5";
/// A little longer: how often 10 ms we look whether it has ended.
const LOOKS: usize = 700;

/// A running program. It ends when this is dropped; when the test fails, what it printed is printed.
///
/// It runs below `timeout` of the coreutils, in a process group of its own. So the children that some programs have end
/// with it, and so does everything when the test itself is killed.
pub(crate) struct Process {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    printed: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Process {
    /// Starts a program in a folder, which is its home too. `name` is for the reader of a failed test.
    pub(crate) fn start(name: &str, folder: &Path, program: &str, arguments: &[&str]) -> Process {
        let mut command = Command::new("timeout");
        command.arg(format!("--kill-after={GRACE}")).args([LIFE, program]).args(arguments).current_dir(folder);
        command.env("HOME", folder).env_remove("XDG_CONFIG_HOME").env_remove("XDG_DATA_HOME").env("LC_ALL", "C");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("timeout cannot be run: {error}"));
        let printed = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("it is piped");
        let stderr = child.stderr.take().expect("it is piped");
        let readers = vec![collect(stdout, &printed), collect(stderr, &printed)];
        let input = child.stdin.take();
        Process { name: name.to_owned(), child, input, printed, readers }
    }

    /// What it has printed so far.
    pub(crate) fn printed(&self) -> String {
        String::from_utf8_lossy(&self.printed.lock().unwrap()).into_owned()
    }

    /// How much it has printed: a mark for [`Process::wait_for`].
    pub(crate) fn mark(&self) -> usize {
        self.printed().len()
    }

    /// Waits until it prints something, and returns the mark behind it.
    pub(crate) fn wait_for(&mut self, wanted: &str, after: usize) -> usize {
        until(&format!("{} prints {wanted:?}", self.name), || {
            self.assert_alive();
            let printed = self.printed();
            let found = printed.get(after..)?.find(wanted)?;
            Some(after + found + wanted.len())
        })
    }

    /// Types a line.
    pub(crate) fn type_line(&mut self, line: &str) {
        let input = self.input.as_mut().expect("it is closed at the end");
        input.write_all(format!("{line}\n").as_bytes()).unwrap();
        input.flush().unwrap();
    }

    /// Fails when it has ended by itself.
    pub(crate) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            // `timeout` ends with 127 where it does not find the program.
            panic!("{} has ended: {status}; ./test.sh installs what is missing", self.name);
        }
    }

    /// Asks it to end, waits for that, and returns all that it printed.
    pub(crate) fn end(mut self) -> String {
        self.assert_alive();
        self.stop();
        self.printed()
    }

    fn stop(&mut self) {
        self.input = None;
        // It has not been waited for, so its number is still its own. `timeout` passes the signal on to all of its
        // group, and kills what does not heed it.
        if let Ok(None) = self.child.try_wait() {
            let _ = Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status();
        }
        for _ in 0..LOOKS {
            if !matches!(self.child.try_wait(), Ok(None)) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.stop();
        if std::thread::panicking() {
            eprintln!("---- {}\n{}----", self.name, self.printed());
        }
    }
}

/// Reads until the program closes its end.
fn collect(mut source: impl Read + Send + 'static, printed: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let printed = Arc::clone(printed);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = source.read(&mut buffer) {
            printed.lock().unwrap().extend_from_slice(&buffer[..length]);
        }
    })
}
