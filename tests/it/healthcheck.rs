//! `solvegate healthcheck`, for containers without a shell.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use crate::support::{Setup, World};

fn asked(address: SocketAddr) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_solvegate"))
        .args(["healthcheck", "--admin", &format!("http://{address}")])
        .output()
        .unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_sidecar_is_healthy_and_a_dead_one_is_not() {
    let world = World::start(Setup::default()).await;
    let address = world.app().admin;
    let alive = tokio::task::spawn_blocking(move || asked(address)).await.unwrap();
    assert_eq!(alive, (Some(0), String::new()));
    world.close(0).await;

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    let (code, text) = tokio::task::spawn_blocking(move || asked(nobody)).await.unwrap();

    assert_eq!(code, Some(1));
    assert!(text.contains("no healthy solvegate answers"), "{text}");
}
