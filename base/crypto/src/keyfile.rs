//! Key files: a secret of at most 4 KiB, encrypted under a passphrase, readable by its owner alone.
//!
//! The format is an armored age file (<https://age-encryption.org/v1>, scrypt) whose content is one line of
//! hexadecimal digits, so that a user can open it with the `age` tool when everything else is gone. Files are
//! written beside their place, flushed and renamed: a crash leaves the old state or the new one.

use age::secrecy::SecretString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use crate::random::random32;

/// Longest secret.
pub const MAX_SECRET: usize = 4096;
/// Largest file that is read.
const MAX_FILE: u64 = 64 * 1024;
/// First line of a key that is worth nothing.
pub const DEVNET_HEADER: &str =
    "# worthless devnet key: publicly known, made for `cairn devnet`; never send anything of value to it";

/// First line of a key that a daemon uses without anybody at the keyboard.
pub const HOT_HEADER: &str =
    "# hot key in the clear: whoever reads this file has the key; keep it at mode 0600 and out of backups";

/// Cost of one guess of the passphrase: 2^n rounds of scrypt, 128 x 8 x 2^n bytes of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkFactor(u8);

impl WorkFactor {
    /// About a second and 256 MiB: for people.
    pub const STANDARD: Self = Self(18);
    /// Next to nothing: for tests only.
    pub const TEST: Self = Self(2);
    /// Largest accepted when reading (4 GiB of memory), so that a planted file cannot stop the machine.
    const MAX: u8 = 22;

    /// 2^`log_n` rounds; 1 to 22.
    pub fn new(log_n: u8) -> Option<Self> {
        (1..=Self::MAX).contains(&log_n).then_some(Self(log_n))
    }
}

/// Why a key file was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The operating system refused.
    #[error("{path}: {cause}; check the path and the free space")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Never overwritten: a lost key is lost for ever.
    #[error("{0} exists already; move it away first, or choose another name")]
    Exists(PathBuf),
    /// Group or others may read or write it.
    #[error(
        "{path} is open to other users (mode {mode:o}); run: chmod 600 '{path}', and replace the key if others had access"
    )]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Wrong passphrase or damaged.
    #[error(
        "{0} does not open; the passphrase is wrong or the file is damaged, try again or restore it from the recovery phrase"
    )]
    DoesNotOpen(PathBuf),
    /// Demands more work than is sensible.
    #[error("{0} demands more memory than any key file of ours; do not use a file from an unknown source")]
    TooMuchWork(PathBuf),
    /// Not a key file.
    #[error("{0} is not a key file; give the path of a file made by this program")]
    NotAKeyFile(PathBuf),
    /// Encrypted, and no passphrase was given.
    #[error("{0} is encrypted; give its passphrase")]
    NeedsPassphrase(PathBuf),
    /// A worthless devnet key where a real one is needed.
    #[error("{0} holds a publicly known devnet key; make a key of your own")]
    Worthless(PathBuf),
    /// Secret or passphrase of an unusable size.
    #[error("{0}; choose another")]
    Unusable(&'static str),
}

/// What a key file held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Encrypted under a passphrase.
    Encrypted,
    /// Plain, publicly known, worth nothing.
    WorthlessDevnet,
    /// Plain, for a daemon that starts by itself.
    Hot,
}

/// Writes `secret` encrypted under `passphrase`, mode 0600. Never overwrites.
pub fn write_encrypted(
    path: &Path,
    secret: &[u8],
    passphrase: &str,
    work: WorkFactor,
) -> Result<(), KeyFileError> {
    check_secret(secret)?;
    if passphrase.is_empty() {
        return Err(KeyFileError::Unusable("an empty passphrase protects nothing"));
    }
    let mut recipient = age::scrypt::Recipient::new(SecretString::from(passphrase.to_owned()));
    recipient.set_work_factor(work.0);
    let text = age::encrypt_and_armor(&recipient, hex_line(secret).as_bytes())
        .map_err(|e| KeyFileError::Io { path: path.into(), cause: io::Error::other(e.to_string()) })?;
    write_private(path, text.as_bytes())
}

/// Writes a key that is worth nothing, in the clear and marked as such, mode 0600. Never overwrites.
pub fn write_plain_devnet(path: &Path, secret: &[u8]) -> Result<(), KeyFileError> {
    check_secret(secret)?;
    let text = Zeroizing::new(format!("{DEVNET_HEADER}\n{}", *hex_line(secret)));
    write_private(path, text.as_bytes())
}

/// Writes a key that a daemon reads without a passphrase, in the clear and marked as such, mode 0600. Never overwrites.
pub fn write_hot(path: &Path, secret: &[u8]) -> Result<(), KeyFileError> {
    check_secret(secret)?;
    let text = Zeroizing::new(format!("{HOT_HEADER}\n{}", *hex_line(secret)));
    write_private(path, text.as_bytes())
}

/// Reads an encrypted key file. A devnet key is [`KeyFileError::Worthless`].
pub fn read_encrypted(path: &Path, passphrase: &str) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    match read(path, Some(passphrase))? {
        (Kind::Encrypted, secret) => Ok(secret),
        (Kind::WorthlessDevnet, _) => Err(KeyFileError::Worthless(path.into())),
        (Kind::Hot, _) => Err(KeyFileError::NotAKeyFile(path.into())),
    }
}

/// Reads a key file of any kind; the caller decides whether a worthless key will do.
pub fn read(path: &Path, passphrase: Option<&str>) -> Result<(Kind, Zeroizing<Vec<u8>>), KeyFileError> {
    let text = read_private(path)?;
    let not_ours = || KeyFileError::NotAKeyFile(path.into());
    let utf8 = std::str::from_utf8(&text).map_err(|_| not_ours())?;
    if let Some(rest) = utf8.strip_prefix(DEVNET_HEADER) {
        return Ok((Kind::WorthlessDevnet, parse_hex_line(rest).ok_or_else(not_ours)?));
    }
    if let Some(rest) = utf8.strip_prefix(HOT_HEADER) {
        return Ok((Kind::Hot, parse_hex_line(rest).ok_or_else(not_ours)?));
    }
    if !utf8.starts_with("-----BEGIN AGE ENCRYPTED FILE-----") {
        return Err(not_ours());
    }
    let passphrase = passphrase.ok_or_else(|| KeyFileError::NeedsPassphrase(path.into()))?;
    let mut identity = age::scrypt::Identity::new(SecretString::from(passphrase.to_owned()));
    identity.set_max_work_factor(WorkFactor::MAX);
    let plain = age::decrypt(&identity, &text).map_err(|e| match e {
        age::DecryptError::ExcessiveWork { .. } => KeyFileError::TooMuchWork(path.into()),
        _ => KeyFileError::DoesNotOpen(path.into()),
    })?;
    let plain = Zeroizing::new(plain);
    let line = std::str::from_utf8(&plain).map_err(|_| not_ours())?;
    Ok((Kind::Encrypted, parse_hex_line(line).ok_or_else(not_ours)?))
}

fn check_secret(secret: &[u8]) -> Result<(), KeyFileError> {
    match secret.len() {
        1..=MAX_SECRET => Ok(()),
        _ => Err(KeyFileError::Unusable("a secret has 1 to 4096 bytes")),
    }
}

fn hex_line(secret: &[u8]) -> Zeroizing<String> {
    let mut digits = Zeroizing::new(vec![0; 2 * secret.len()]);
    hex::encode_to_slice(secret, &mut digits).expect("two digits a byte were reserved");
    let mut line = Zeroizing::new(String::with_capacity(digits.len() + 1));
    line.push_str(std::str::from_utf8(&digits).expect("hexadecimal digits are ASCII"));
    line.push('\n');
    line
}

fn parse_hex_line(line: &str) -> Option<Zeroizing<Vec<u8>>> {
    let digits = line.trim();
    let mut secret = Zeroizing::new(vec![0; digits.len() / 2]);
    hex::decode_to_slice(digits, &mut secret).ok()?;
    (1..=MAX_SECRET).contains(&secret.len()).then_some(secret)
}

/// Writes beside the place, flushes, renames, flushes the directory.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), KeyFileError> {
    let io = |cause| KeyFileError::Io { path: path.into(), cause };
    if fs::symlink_metadata(path).is_ok() {
        return Err(KeyFileError::Exists(path.into()));
    }
    let suffix = random32().map_err(|e| io(io::Error::other(e.to_string())))?;
    let mut name = path.file_name().ok_or_else(|| KeyFileError::NotAKeyFile(path.into()))?.to_owned();
    name.push(format!(".{}.tmp", hex::encode(&suffix[..8])));
    let temp = path.with_file_name(name);
    let written = write_new(&temp, bytes).and_then(|()| fs::rename(&temp, path));
    if let Err(cause) = written {
        // What could not be finished is of no use; the first error is the one to report.
        let _ = fs::remove_file(&temp);
        return Err(io(cause));
    }
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).map_err(io)
}

fn write_new(temp: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(temp)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Reads a file that its owner alone may read; permissions are those of the opened file, not of a name that may
/// change in between.
fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let io = |cause| KeyFileError::Io { path: path.into(), cause };
    let file = File::open(path).map_err(io)?;
    let meta = file.metadata().map_err(io)?;
    if !meta.is_file() || meta.len() > MAX_FILE {
        return Err(KeyFileError::NotAKeyFile(path.into()));
    }
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&meta.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Permissions { path: path.into(), mode });
        }
    }
    // Reserved at once, so that growing leaves no copies of a plain key behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(MAX_FILE).unwrap_or_default()));
    file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn what_was_encrypted_opens_with_its_passphrase_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("account.key");
        write_encrypted(&path, &[7; 32], "correct horse", WorkFactor::TEST).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(&**read_encrypted(&path, "correct horse").unwrap(), &[7; 32]);
        assert!(matches!(read_encrypted(&path, "wrong"), Err(KeyFileError::DoesNotOpen(_))));
        assert!(matches!(read(&path, None), Err(KeyFileError::NeedsPassphrase(_))));
        let text = fs::read_to_string(&path).unwrap();
        assert!(!text.contains("0707"), "{text}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file stays behind");
    }

    #[test]
    fn a_file_written_earlier_still_opens() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("old.key");
        write_private(&path, FROZEN.as_bytes()).unwrap();
        assert_eq!(&**read_encrypted(&path, "frozen").unwrap(), &[9; 32]);
    }

    const FROZEN: &str = "-----BEGIN AGE ENCRYPTED FILE-----\n\
        YWdlLWVuY3J5cHRpb24ub3JnL3YxCi0+IHNjcnlwdCBmR0JEWDFEMmVseGxjVTVa\n\
        alhxaU53IDIKR2tRQnFwcUpNTndhSlc5bVZzYWxsVUF1U1YvN3RNOVhhTFJwYTc4\n\
        anhzawotLS0gTHhWNFUrZDEydFdzRHdlcUs3K3JWSXZMRDU4N1JPaGM4ZDlGMkRX\n\
        cTljRQo2ZJCjz+eQ50UdRfjC1L+y8azvx18R8Jms3oQrMMR8cwBEXVOflJuby9kY\n\
        oz8i8hP2KQSpl6zBn1Rm3YN1O3oUCPlAYp8gPWeeBt0mu+Z1mph+lWsjnbtuV2iE\n\
        M4uQ60do\n\
        -----END AGE ENCRYPTED FILE-----\n\
        ";

    #[test]
    fn a_key_file_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_plain_devnet(&path, &[1; 32]).unwrap();
        assert!(matches!(write_plain_devnet(&path, &[2; 32]), Err(KeyFileError::Exists(_))));
        let again = write_encrypted(&path, &[2; 32], "p", WorkFactor::TEST);
        assert!(matches!(again, Err(KeyFileError::Exists(_))));
        assert_eq!(&**read(&path, None).unwrap().1, &[1; 32]);
    }

    #[test]
    fn a_devnet_key_is_marked_and_not_taken_for_a_real_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_plain_devnet(&path, &[0xab; 4]).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{DEVNET_HEADER}\nabababab\n"));
        assert!(text.starts_with("# worthless devnet key"));
        assert_eq!(read(&path, None).unwrap().0, Kind::WorthlessDevnet);
        assert!(matches!(read_encrypted(&path, "p"), Err(KeyFileError::Worthless(_))));
    }

    #[test]
    fn a_hot_key_is_private_marked_and_not_taken_for_an_encrypted_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_hot(&path, &[0xab; 4]).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{HOT_HEADER}\nabababab\n"));
        assert_eq!(read(&path, None).unwrap(), (Kind::Hot, Zeroizing::new(vec![0xab; 4])));
        assert!(matches!(read_encrypted(&path, "p"), Err(KeyFileError::NotAKeyFile(_))));
        assert!(matches!(write_hot(&path, &[1]), Err(KeyFileError::Exists(_))));
    }

    #[test]
    fn a_file_open_to_others_is_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_plain_devnet(&path, &[1; 32]).unwrap();
        for bits in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bits)).unwrap();
            let text = read(&path, None).unwrap_err().to_string();
            assert!(text.contains("chmod 600") && text.contains(&format!("{bits:o}")), "{text}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path, None).is_ok());
    }

    #[test]
    fn other_files_and_sizes_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k");
        write_private(&path, b"hello").unwrap();
        assert!(matches!(read(&path, Some("p")), Err(KeyFileError::NotAKeyFile(_))));
        assert!(matches!(
            read(dir.path(), Some("p")),
            Err(KeyFileError::NotAKeyFile(_) | KeyFileError::Permissions { .. })
        ));
        assert!(matches!(read(&dir.path().join("none"), None), Err(KeyFileError::Io { .. })));
        let new = dir.path().join("new");
        assert!(matches!(write_plain_devnet(&new, &[]), Err(KeyFileError::Unusable(_))));
        assert!(matches!(write_plain_devnet(&new, &[0; 4097]), Err(KeyFileError::Unusable(_))));
        let empty = write_encrypted(&new, &[1; 32], "", WorkFactor::TEST);
        assert!(matches!(empty, Err(KeyFileError::Unusable(_))));
        assert_eq!((WorkFactor::new(0), WorkFactor::new(23)), (None, None));
    }
}
