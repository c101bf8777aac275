//! The listener: a thread that accepts, a thread for each connection.
//!
//! Invariants:
//! - No more threads than `connections` plus one; a connection too many is closed at once.
//! - After [`Server::close`] returned no thread of the server runs, and nothing more is decided.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::connection::{Context, serve};
use crate::error::TransferError;
use crate::file::Files;
use crate::plan::Decide;

/// Stack of a connection's thread: the deepest call is a write into the store.
const STACK_BYTES: usize = 1 << 20;
/// How long the accepting thread sleeps at most before it looks whether it should end.
const ACCEPT_WAIT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};
/// Pause after a failed accept: as a rule descriptors are short, and come back.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address or name to bind to.
    pub host: String,
    /// Port; 0 = any that is free.
    pub port: u16,
    /// Most connections at once.
    pub connections: usize,
    /// How long a connection may idle between operations.
    pub idle: Duration,
}

/// A running listener.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    acceptor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    context: Context,
    connections_max: usize,
    registry: Mutex<Registry>,
    /// Signalled when the last connection goes.
    empty: Condvar,
}

#[derive(Default)]
struct Registry {
    closing: bool,
    streams: Vec<Arc<TcpStream>>,
}

impl Server {
    /// Binds, and serves until [`Server::close`].
    ///
    /// # Errors
    /// [`TransferError::Socket`] if the address cannot be bound.
    pub fn start(
        files: Arc<dyn Files>,
        options: &Options,
        decide: Arc<dyn Decide>,
    ) -> Result<Self, TransferError> {
        let listener = TcpListener::bind((options.host.as_str(), options.port))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            context: Context {
                files,
                decide,
                request_ids: AtomicU64::new(1),
                idle: options.idle,
            },
            connections_max: options.connections,
            registry: Mutex::default(),
            empty: Condvar::new(),
        });
        let acceptor = thread::Builder::new()
            .name("transfer-accept".into())
            .spawn({
                let shared = Arc::clone(&shared);
                move || accept(&listener, &shared)
            })?;
        Ok(Self {
            address,
            shared,
            acceptor: Mutex::new(Some(acceptor)),
        })
    }

    /// The port that is listened on.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Ends all connections and waits until their threads are gone. Idempotent.
    pub fn close(&self) {
        self.shared.registry.lock().closing = true;
        self.shared.context.decide.closing();
        if let Some(acceptor) = self.acceptor.lock().take() {
            // Wakes it; if this fails it wakes by itself within ACCEPT_WAIT.
            drop(TcpStream::connect_timeout(
                &self.reachable_address(),
                Duration::from_secs(1),
            ));
            drop(acceptor.join());
        }
        let mut registry = self.shared.registry.lock();
        for stream in &registry.streams {
            // Fails only where the peer was faster.
            drop(stream.shutdown(Shutdown::Both));
        }
        while !registry.streams.is_empty() {
            self.shared.empty.wait(&mut registry);
        }
    }

    fn reachable_address(&self) -> SocketAddr {
        let mut address = self.address;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close();
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let ready = poll(
            &mut [PollFd::new(listener, PollFlags::IN)],
            Some(&ACCEPT_WAIT),
        );
        if shared.registry.lock().closing {
            return;
        }
        if ready == Ok(0) {
            continue;
        }
        match listener.accept() {
            Ok((stream, _)) => start_connection(shared, stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => thread::sleep(ACCEPT_RETRY),
        }
    }
}

/// Registers the connection and gives it a thread; drops (closes) it where that cannot be.
fn start_connection(shared: &Arc<Shared>, stream: TcpStream) {
    let stream = Arc::new(stream);
    let registration = {
        let mut registry = shared.registry.lock();
        if registry.closing || registry.streams.len() >= shared.connections_max {
            return;
        }
        registry.streams.push(Arc::clone(&stream));
        Registration {
            shared: Arc::clone(shared),
            stream,
        }
    };
    let thread = thread::Builder::new()
        .name("transfer".into())
        .stack_size(STACK_BYTES);
    // If no thread can be had the registration is dropped with the closure.
    drop(thread.spawn(move || {
        let registration = registration;
        let context = &registration.shared.context;
        let serving = AssertUnwindSafe(|| serve(context, &registration.stream));
        // What ended a connection is the peer's to notice; decisions were told in events.
        if catch_unwind(serving).is_err() {
            context.files.poison();
        }
    }));
}

/// A connection in the registry; leaves it when dropped, also by a panic.
struct Registration {
    shared: Arc<Shared>,
    stream: Arc<TcpStream>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The socket may live on for a moment in the registry's clone; the peer must not wait.
        drop(self.stream.shutdown(Shutdown::Both));
        let mut registry = self.shared.registry.lock();
        registry
            .streams
            .retain(|stream| !Arc::ptr_eq(stream, &self.stream));
        if registry.streams.is_empty() {
            self.shared.empty.notify_all();
        }
    }
}
