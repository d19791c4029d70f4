//! What a service manager is told over `NOTIFY_SOCKET`, by the program itself.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use solvegate::clock;

use crate::support::client::{get, submission};
use crate::support::process::Sidecar;
use crate::support::{ACME, Client, Setup, World, ZEN, until};

/// The side that listens, under a path or under a name that is in no folder.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn at_path(world: &World) -> Self {
        let path = world.folder.path().join("notify");
        Self::new(UnixDatagram::bind(&path).unwrap(), path.to_str().unwrap().to_owned())
    }

    fn unnamed(world: &World) -> Self {
        let name = world.folder.path().to_str().unwrap();
        let address = SocketAddr::from_abstract_name(name).unwrap();
        Self::new(UnixDatagram::bind_addr(&address).unwrap(), format!("@{name}"))
    }

    fn new(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        Self { socket, name }
    }

    /// The next message, waited for.
    fn next(&self) -> String {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).expect("nothing is said");
        String::from_utf8(message[..length].to_vec()).unwrap()
    }

    /// Whether nothing was said that is not read.
    fn is_silent(&self) -> bool {
        self.socket.set_nonblocking(true).unwrap();
        let heard = self.socket.recv(&mut [0; 4096]);
        self.socket.set_nonblocking(false).unwrap();
        heard.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}

fn world() -> World {
    World::without_sidecar(Setup::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_hears_of_the_start_of_reloads_and_of_the_end() {
    for manager in [Manager::at_path, Manager::unnamed] {
        let mut world = world();
        world.setup.tenants = "acme: { keys: { prod: { key: ACME } } }";
        let config = world.write_config();
        let manager = manager(&world);
        let sidecar = Sidecar::start_under(&config, &manager.name).unwrap();
        assert_eq!(manager.next(), "READY=1");
        let ready = Client::connect(sidecar.admin).await.get("/readyz").await;
        assert_eq!(ready.status, 200);
        assert_eq!(ask(&sidecar, ACME).await, None);
        assert_eq!(ask(&sidecar, ZEN).await.as_deref(), Some("unknown_key"));

        let before = clock::since_boot().as_micros();
        sidecar.signal("HUP");
        let reloading = manager.next();
        assert_eq!(manager.next(), "READY=1");
        let after = clock::since_boot().as_micros();
        let at = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").expect(&reloading);
        assert!((before..=after).contains(&at.parse().unwrap()), "{before} {at} {after}");

        let text = std::fs::read_to_string(&config).unwrap().replace(ACME, ZEN);
        for text in [text.as_str(), "colour: red\n"] {
            let new = config.with_extension("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &config).unwrap();
            assert!(manager.next().starts_with("RELOADING=1\n"));
            assert_eq!(manager.next(), "READY=1");
            assert_eq!(ask(&sidecar, ZEN).await, None, "in force when it says so, and still");
        }

        sidecar.signal("TERM");
        assert_eq!(manager.next(), "STOPPING=1");
        let (log, status) = sidecar.ended();
        assert!(status.success(), "{status}: {log}");
        assert!(manager.is_silent());
        world.close(0).await;
    }
}

/// Why it is refused, if it is.
async fn ask(sidecar: &Sidecar, key: &str) -> Option<String> {
    let answer = Client::connect(sidecar.data).await.get(&submission(key, "never")).await;
    answer.header("x-solvegate-reason").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_serve_never_says_that_it_is_ready() {
    let world = world();
    let config = world.write_config();
    let manager = Manager::at_path(&world);
    let first = Sidecar::start(&config).unwrap();

    // Its listeners are open when it finds that the record is another's.
    let refused = Sidecar::start_under(&config, &manager.name).unwrap_err();

    assert!(refused.contains("in use by another"), "{refused}");
    assert!(manager.is_silent());
    first.stop();
    world.close(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_is_gone_or_does_not_read_holds_nothing_up() {
    let world = world();
    let config = world.write_config();
    let deaf = Manager::at_path(&world);
    let sender = UnixDatagram::unbound().unwrap();
    sender.set_nonblocking(true).unwrap();
    while sender.send_to(b"full", &deaf.name).is_ok() {}
    let gone = world.folder.path().join("gone").to_str().unwrap().to_owned();

    for name in [deaf.name.clone(), gone, "vsock:2:1".to_owned()] {
        let sidecar = Sidecar::start_under(&config, &name).unwrap();
        until("it is logged", || sidecar.log().contains("the service manager was not told")).await;
        let mut client = Client::connect(sidecar.admin).await;
        client.send(get("/readyz").as_bytes()).await;
        assert_eq!(client.answer().await.status, 200);
        sidecar.stop();
    }
    world.close(0).await;
}
