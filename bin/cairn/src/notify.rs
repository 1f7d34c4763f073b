//! Tells the service manager how a process is doing: the protocol of `sd_notify(3)`, one datagram a message.

use std::ffi::OsString;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The manager's socket, if there is a manager.
#[derive(Debug, Default)]
pub struct Manager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Manager {
    /// As the environment says: `NOTIFY_SOCKET`, and `WATCHDOG_USEC` if a sign of life is wanted.
    pub fn from_env() -> Self {
        Self::new(std::env::var_os("NOTIFY_SOCKET"), std::env::var("WATCHDOG_USEC").ok().as_deref())
    }

    fn new(path: Option<OsString>, watchdog: Option<&str>) -> Self {
        let address = path.and_then(|path| match path.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            _ => SocketAddr::from_pathname(&path).ok(),
        });
        let socket = address.and_then(|address| Some((UnixDatagram::unbound().ok()?, address)));
        let micros = watchdog.and_then(|text| text.parse().ok()).filter(|micros| *micros > 0);
        Self { watchdog: micros.filter(|_| socket.is_some()).map(Duration::from_micros), socket }
    }

    /// Sends one message. A manager that does not listen is no reason to stop.
    fn tell(&self, message: &str) {
        if let Some((socket, address)) = &self.socket
            && let Err(error) = socket.send_to_addr(message.as_bytes(), address)
        {
            tracing::debug!(%error, "notify");
        }
    }

    /// The process does its work; from here on it gives signs of life.
    pub fn ready(self) -> Alive {
        self.tell("READY=1");
        let task = self.watchdog.map(|limit| {
            let manager = Self { socket: self.socket.as_ref().and_then(copy), watchdog: None };
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(limit / 3);
                loop {
                    tick.tick().await;
                    manager.tell("WATCHDOG=1");
                }
            })
        });
        Alive { manager: self, task }
    }

    /// A line for `systemctl status`.
    pub fn say(&self, text: &str) {
        self.tell(&format!("STATUS={}", text.replace('\n', " ")));
    }
}

fn copy((socket, address): &(UnixDatagram, SocketAddr)) -> Option<(UnixDatagram, SocketAddr)> {
    Some((socket.try_clone().ok()?, address.clone()))
}

/// A process that is ready. Dropping it tells the manager that the process is stopping.
pub struct Alive {
    manager: Manager,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Alive {
    /// A line for `systemctl status`.
    pub fn say(&self, text: &str) {
        self.manager.say(text);
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.manager.tell("STOPPING=1");
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        let n = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..n].to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_manager_hears_of_start_life_and_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let listening = UnixDatagram::bind(&path).unwrap();
        listening.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let alive = Manager::new(Some(path.into_os_string()), Some("30000")).ready();
        assert_eq!(heard(&listening), "READY=1");
        alive.say("a\nb");
        let later = tokio::task::spawn_blocking(move || {
            let heard: Vec<String> = (0..3).map(|_| heard(&listening)).collect();
            (heard, listening)
        });
        let (messages, listening) = later.await.unwrap();
        assert!(messages.contains(&"STATUS=a b".to_owned()), "{messages:?}");
        assert!(messages.contains(&"WATCHDOG=1".to_owned()), "{messages:?}");
        drop(alive);
        listening.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        while heard(&listening) != "STOPPING=1" {}
    }

    #[tokio::test]
    async fn without_a_manager_nothing_happens() {
        for path in [None, Some(OsString::from("/nowhere/at/all")), Some(OsString::new())] {
            let manager = Manager::new(path, Some("nonsense"));
            manager.say("x");
            drop(manager.ready());
        }
    }
}
