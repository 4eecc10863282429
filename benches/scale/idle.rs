//! What a connection holds that was used once and waits.

use std::thread;
use std::time::Duration;

use super::client::{Client, Speech};
use super::lab::process::go_on;
use super::lab::{Result, While as _, kernel};
use super::{KIB, MIB, Scale, Who, open_files};

/// For what was allocated for the moment to be given back.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Connections before the first look: buffers that all share are there by then.
const FIRST: usize = 20;

pub fn measure(scale: &Scale<'_>) -> Result<()> {
    let count = scale.options.idle;
    open_files(2 * count as u64 + 1_000)?;
    println!(
        "\n## Idle connections\n\nResident memory of the proxy for each of {count} connections that waits after its first \
         request; what the kernel holds for a socket is not in it.\n\n| connection | proxy | KiB each | RSS, MiB |\n|---|---|---:|---:|"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.during("a runtime")?;
    for (name, speech) in [
        ("HTTP/1.1", Speech::Clear),
        ("HTTP/1.1 over TLS", Speech::Tls),
        ("HTTP/2 in clear", Speech::Http2),
    ] {
        for who in scale.everybody() {
            // Debian's nginx speaks HTTP/2 on ports of its own only.
            if speech == Speech::Http2 && matches!(who, Who::Other("nginx")) {
                continue;
            }
            let peer = scale.start(&who)?;
            let door = if speech == Speech::Tls { peer.tls } else { peer.clear };
            let client = Client::new(door.port, speech, &scale.folder.file("tls.crt"))?;
            let (before, after) = runtime.block_on(async {
                let mut held = Vec::with_capacity(FIRST + count);
                for _ in 0..FIRST {
                    held.push(client.open().await?);
                }
                thread::sleep(SETTLE);
                let before = kernel::resident(&door.processes());
                for _ in 0..count {
                    go_on()?;
                    held.push(client.open().await?);
                }
                thread::sleep(SETTLE);
                Ok((before, kernel::resident(&door.processes())))
            })?;
            println!(
                "| {name} | {} | {:.1} | {:.1} |",
                who.name(),
                after.saturating_sub(before) as f64 / KIB / count as f64,
                after as f64 / MIB
            );
        }
    }
    Ok(())
}
