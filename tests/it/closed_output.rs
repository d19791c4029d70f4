//! Output that nobody reads, or that cannot be written: no command panics over it.

use std::fs::OpenOptions;
use std::io::{Read, pipe};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::process::signal;
use crate::support::usual::traffic;
use crate::support::{Setup, World};

const PROGRAM: &str = env!("CARGO_BIN_EXE_solvegate");

/// Each that prints, and that can be asked again and again.
const PRINTING: [&[&str]; 12] = [
    &["slo"],
    &["slo", "--json"],
    &["usage", "acme"],
    &["bill", "--month", "2026-11"],
    &["bill", "--month", "2026-11", "--format", "csv", "--tenant", "acme"],
    &["solves"],
    &["why", "zen"],
    &["key", "list", "acme"],
    &["key", "reroll", "acme", "prod"],
    &["credit", "acme", "1.00", "--id", "a"],
    &["check", "--config", "solvegate.yaml"],
    &["completions", "bash"],
];

async fn world() -> World {
    let world = World::start(Setup {
        tenants: "acme: { prepaid: { opening_balance: 1.00 }, keys: { prod: { key: ACME } } }, \
            zen: { in_flight_max: 1, keys: { prod: { key: ZEN } } }",
        ..Setup::default()
    })
    .await;
    traffic(&world).await;
    world
}

fn command(world: &World, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(world.folder.path()).stdin(Stdio::null());
    command.env("SOLVEGATE_ADMIN_URL", format!("http://{}", world.app().admin));
    command.env_remove("SOLVEGATE_CONFIG").env_remove("RUST_BACKTRACE");
    command
}

/// A pipe whose reader is gone.
fn unread() -> Stdio {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    writer.into()
}

/// Its exit code, and what it says on stderr, which is read.
async fn ended(mut command: Command) -> (Option<i32>, String) {
    let done = tokio::task::spawn_blocking(move || command.stderr(Stdio::piped()).output());
    let done = done.await.unwrap().unwrap();
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_enough_ends_a_command_quietly() {
    let world = world().await;
    for arguments in PRINTING {
        let mut piped = command(&world, PROGRAM, arguments);
        piped.stdout(unread());
        let (code, said) = ended(piped).await;
        // A secret that is shown once was shown to nobody.
        let is_lost = arguments.contains(&"reroll");
        assert_eq!(code, Some(i32::from(is_lost)), "{arguments:?}: {said}");
        assert_eq!(said.contains("error"), is_lost, "{arguments:?}: {said}");
        assert!(!said.contains("panic"), "{arguments:?}: {said}");

        let arguments = [&["-c", r#""$0" "$@" >&-"#, PROGRAM], arguments].concat();
        let (code, said) = ended(command(&world, "sh", &arguments)).await;
        assert_eq!(code, Some(0), "{arguments:?}: {said}");
        assert!(!said.contains("panic"), "{arguments:?}: {said}");
    }
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_cannot_be_written_is_an_error() {
    let world = world().await;
    for arguments in PRINTING {
        let mut full = command(&world, PROGRAM, arguments);
        full.stdout(OpenOptions::new().write(true).open("/dev/full").unwrap());
        let (code, said) = ended(full).await;
        assert_eq!(code, Some(1), "{arguments:?}: {said}");
        let error = said.lines().last().unwrap();
        let is_lost = arguments.contains(&"reroll");
        let expected = if is_lost { "the key was made and nobody read it" } else { "cannot write" };
        assert!(error.starts_with(&format!("error: {expected}")), "{arguments:?}: {said}");
    }
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn complaints_that_nobody_reads_change_no_exit_code() {
    let world = world().await;
    std::fs::write(world.folder.path().join("faulty.yaml"), "listen: nowhere\n").unwrap();
    let nobody = ["healthcheck", "--admin", "http://127.0.0.1:9"];
    let complaining: [(&[&str], i32); 7] = [
        (&["check", "--config", "faulty.yaml"], 1),
        (&["run", "--config", "faulty.yaml"], 1),
        (&["healthcheck", "--config", "faulty.yaml"], 1),
        (&nobody, 1),
        (&["credit", "nobody", "1.00"], 1),
        (&["bill", "--month", "2026-11", "--format", "csv", "--tenant", "acme"], 0),
        // Its secret was shown to nobody.
        (&["key", "new", "acme", "b"], 1),
    ];
    for (arguments, expected) in complaining {
        let mut command = command(&world, PROGRAM, arguments);
        command.stdout(unread()).stderr(unread());
        let code = tokio::task::spawn_blocking(move || command.status().unwrap().code());
        assert_eq!(code.await.unwrap(), Some(expected), "{arguments:?}");
    }
    world.close(3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sidecar_serves_where_nobody_reads_its_output() {
    let world = World::without_sidecar(Setup::default());
    let config = world.write_config();
    let path = world.folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap().into();
    for output in [unread(), full()] {
        let mut command = Command::new(PROGRAM);
        command.args(["run", "--config"]).arg(&config).env("NOTIFY_SOCKET", &path);
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut message = [0; 64];
        let length = manager.recv(&mut message).expect("it never served");
        assert_eq!(&message[..length], b"READY=1");

        signal(child.id(), "TERM");

        let mut log = String::new();
        child.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success(), "{log}");
        let length = manager.recv(&mut message).unwrap();
        assert_eq!(&message[..length], b"STOPPING=1");
    }
    world.close(0).await;
}
