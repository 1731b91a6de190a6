//! Writes the seeds of a target into a folder, for libFuzzer: `cargo run -p fuzz --example seeds -- TARGET FOLDER`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, folder] = &arguments[..] else {
        eprintln!("seeds TARGET FOLDER");
        std::process::exit(2);
    };
    std::fs::create_dir_all(folder)?;
    for (number, seed) in fuzz::seeds(target).iter().enumerate() {
        std::fs::write(Path::new(folder).join(format!("seed-{number}")), seed)?;
    }
    Ok(())
}
