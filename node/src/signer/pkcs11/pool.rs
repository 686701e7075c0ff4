//! The sessions with a token, and what to do when it forgets them.
//!
//! Invariants: at most `sessions_max` sessions sign at once; one more session, which signs nothing,
//! keeps the login alive, because a token logs out when its last session closes; a session of an
//! earlier connection is never used again.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error as DeviceError, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use fiscus_ledger::hash::Hash32;

use super::{Pkcs11Config, Pkcs11Error};

/// Shared by all who sign.
pub(super) struct Pool {
    config: Pkcs11Config,
    context: Pkcs11,
    pin: AuthPin,
    public_keys: Vec<Hash32>,
    state: Mutex<State>,
    returned: Condvar,
}

struct State {
    connection: Connection,
    /// Rises with each new connection.
    generation: u64,
    idle: Vec<Session>,
    leased: usize,
    /// What the token said when it refused the PIN.
    pin_refused: Option<String>,
}

/// What a login gives, until the token is reset.
struct Connection {
    slot: Slot,
    private_keys: Vec<ObjectHandle>,
    /// Keeps the login alive.
    _anchor: Session,
}

/// Why one attempt to sign failed, and in which connection.
struct Failed {
    error: Pkcs11Error,
    generation: u64,
}

impl Pool {
    /// Logs in; gives the public keys in the order of the configuration.
    pub(super) fn connect(config: &Pkcs11Config) -> Result<(Self, Vec<Hash32>), Pkcs11Error> {
        if config.sessions_max == 0 {
            return Err(Pkcs11Error::NoSessions);
        }
        let pin = read_pin(config)?;
        let context = Pkcs11::new(&config.module)
            .map_err(|source| Pkcs11Error::Module { module: config.module.clone(), source })?;
        let (connection, public_keys) = log_in(config, &context, &pin)?;
        let state =
            State { connection, generation: 0, idle: Vec::new(), leased: 0, pin_refused: None };
        let pool = Self {
            config: config.clone(),
            context,
            pin,
            public_keys: public_keys.clone(),
            state: Mutex::new(state),
            returned: Condvar::new(),
        };
        Ok((pool, public_keys))
    }

    /// Signs with the key at this place of the configuration.
    pub(super) fn sign(&self, place: usize, message: &[u8]) -> Result<[u8; 64], Pkcs11Error> {
        match self.attempt(place, message) {
            Err(Failed { error, generation }) if is_lost(&error) => {
                self.reconnect(generation)?;
                self.attempt(place, message).map_err(|failed| failed.error)
            }
            attempted => attempted.map_err(|failed| failed.error),
        }
    }

    fn attempt(&self, place: usize, message: &[u8]) -> Result<[u8; 64], Failed> {
        let lease = self.lease(place)?;
        let eddsa = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        let signed = lease
            .session
            .sign(&eddsa, lease.private_key, message)
            .map_err(|source| Pkcs11Error::Call { what: "signing in the token", source })
            .and_then(|signature| {
                let size = signature.len();
                <[u8; 64]>::try_from(signature).map_err(|_| Pkcs11Error::Signature(size))
            });
        match signed {
            Ok(signature) => {
                self.give_back(Some(lease.session), lease.generation);
                Ok(signature)
            }
            // A failed call may leave an operation open in the session, so it is closed.
            Err(error) => {
                self.give_back(None, lease.generation);
                Err(Failed { error, generation: lease.generation })
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is consistent between any two statements that can panic.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An idle session, a new one, or the next that is given back.
    fn lease(&self, place: usize) -> Result<Lease, Failed> {
        let mut state = self.lock();
        while state.leased >= self.config.sessions_max {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let generation = state.generation;
        let session = match state.idle.pop() {
            Some(session) => session,
            None => self.context.open_ro_session(state.connection.slot).map_err(|source| {
                let error = Pkcs11Error::Call { what: "opening a session", source };
                Failed { error, generation }
            })?,
        };
        state.leased += 1;
        let private_key = state.connection.private_keys[place];
        Ok(Lease { session, private_key, generation })
    }

    fn give_back(&self, session: Option<Session>, generation: u64) {
        let mut state = self.lock();
        state.leased -= 1;
        if state.generation == generation {
            state.idle.extend(session);
        }
        drop(state);
        self.returned.notify_one();
    }

    /// Makes a new connection, unless somebody has since the one that failed.
    fn reconnect(&self, failed_generation: u64) -> Result<(), Pkcs11Error> {
        let mut state = self.lock();
        if state.generation != failed_generation {
            return Ok(());
        }
        if let Some(reason) = state.pin_refused.clone() {
            return Err(Pkcs11Error::PinRefused { token: self.config.token_label.clone(), reason });
        }
        state.idle.clear();
        let logged_in = log_in(&self.config, &self.context, &self.pin);
        if let Err(Pkcs11Error::PinRefused { reason, .. }) = &logged_in {
            state.pin_refused = Some(reason.clone());
        }
        let (connection, public_keys) = logged_in?;
        let changed = public_keys.iter().zip(&self.public_keys).position(|(new, old)| new != old);
        if let Some(place) = changed {
            let label = self.config.keys[place].label.clone();
            return Err(Pkcs11Error::KeyChanged { label });
        }
        state.connection = connection;
        state.generation += 1;
        Ok(())
    }
}

/// A session in use. It goes back through [`Pool::give_back`].
struct Lease {
    session: Session,
    private_key: ObjectHandle,
    generation: u64,
}

/// Whether the token has forgotten us, so that a new login may help.
fn is_lost(error: &Pkcs11Error) -> bool {
    matches!(
        error,
        Pkcs11Error::Call {
            source: DeviceError::Pkcs11(
                RvError::CryptokiNotInitialized
                    | RvError::DeviceError
                    | RvError::DeviceRemoved
                    | RvError::KeyHandleInvalid
                    | RvError::ObjectHandleInvalid
                    | RvError::SessionClosed
                    | RvError::SessionHandleInvalid
                    | RvError::SlotIdInvalid
                    | RvError::TokenNotPresent
                    | RvError::TokenNotRecognized
                    | RvError::UserNotLoggedIn,
                _,
            ),
            ..
        }
    )
}

fn read_pin(config: &Pkcs11Config) -> Result<AuthPin, Pkcs11Error> {
    let token = || config.token_label.clone();
    let secret = config.pin.read().map_err(|source| Pkcs11Error::Pin { token: token(), source })?;
    let text = std::str::from_utf8(secret.bytes()).map_err(|_| Pkcs11Error::PinText(token()))?;
    Ok(AuthPin::new(text.into()))
}

fn log_in(
    config: &Pkcs11Config,
    context: &Pkcs11,
    pin: &AuthPin,
) -> Result<(Connection, Vec<Hash32>), Pkcs11Error> {
    match context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
        // Another part of the process may use the same library.
        Ok(()) | Err(DeviceError::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
        Err(source) => {
            return Err(Pkcs11Error::Module { module: config.module.clone(), source });
        }
    }
    let slot = find_slot(config, context)?;
    let anchor = context.open_ro_session(slot).map_err(call("opening a session"))?;
    match anchor.login(UserType::User, Some(pin)) {
        Ok(()) | Err(DeviceError::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
        Err(DeviceError::Pkcs11(
            reason @ (RvError::PinIncorrect
            | RvError::PinInvalid
            | RvError::PinLenRange
            | RvError::PinExpired
            | RvError::PinLocked),
            _,
        )) => {
            let (token, reason) = (config.token_label.clone(), reason.to_string());
            return Err(Pkcs11Error::PinRefused { token, reason });
        }
        Err(source) => return Err(Pkcs11Error::Call { what: "logging in to the token", source }),
    }
    let mut private_keys = Vec::with_capacity(config.keys.len());
    let mut public_keys = Vec::with_capacity(config.keys.len());
    for key in &config.keys {
        let find = |class, half| find_key(&anchor, &config.token_label, &key.label, class, half);
        private_keys.push(find(ObjectClass::PRIVATE_KEY, "private")?);
        let public_key = find(ObjectClass::PUBLIC_KEY, "public")?;
        public_keys.push(read_public_key(&anchor, public_key, &key.label)?);
    }
    Ok((Connection { slot, private_keys, _anchor: anchor }, public_keys))
}

fn call(what: &'static str) -> impl FnOnce(DeviceError) -> Pkcs11Error {
    move |source| Pkcs11Error::Call { what, source }
}

fn find_slot(config: &Pkcs11Config, context: &Pkcs11) -> Result<Slot, Pkcs11Error> {
    let mut found = Vec::new();
    for slot in context.get_slots_with_token().map_err(call("listing the tokens"))? {
        let token = context.get_token_info(slot).map_err(call("reading a token's label"))?;
        if token.label().trim_end() == config.token_label {
            found.push(slot);
        }
    }
    match found.as_slice() {
        [slot] => Ok(*slot),
        _ => Err(Pkcs11Error::Token { label: config.token_label.clone(), count: found.len() }),
    }
}

fn find_key(
    session: &Session,
    token: &str,
    label: &str,
    class: ObjectClass,
    half: &'static str,
) -> Result<ObjectHandle, Pkcs11Error> {
    let template = [
        Attribute::Class(class),
        Attribute::KeyType(KeyType::EC_EDWARDS),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let found = session.find_objects(&template).map_err(call("looking for a key"))?;
    match found.as_slice() {
        [key] => Ok(*key),
        _ => {
            let (token, label) = (token.to_owned(), label.to_owned());
            Err(Pkcs11Error::Key { token, label, half, count: found.len() })
        }
    }
}

/// The point, which most tokens wrap in an OCTET STRING and some do not.
fn read_public_key(
    session: &Session,
    key: ObjectHandle,
    label: &str,
) -> Result<Hash32, Pkcs11Error> {
    let attributes = session
        .get_attributes(key, &[AttributeType::EcPoint])
        .map_err(call("reading a public key"))?;
    let point = attributes.iter().find_map(|attribute| match attribute {
        Attribute::EcPoint(point) => {
            point.strip_prefix(&[0x04, 0x20]).unwrap_or(point).try_into().ok()
        }
        _ => None,
    });
    point.ok_or_else(|| Pkcs11Error::PublicKey { label: label.to_owned() })
}
