//! What a request of the trustless gateway asks for.

use super::Cid;
use hyper::header::ACCEPT;
use hyper::{HeaderMap, StatusCode, Uri};
use std::ops::Range;

const RAW: &str = "application/vnd.ipld.raw";
const CAR: &str = "application/vnd.ipld.car";
/// Longest query that is read.
const QUERY_MAX: usize = 2048;
/// Most parts of a path.
const PATH_MAX: usize = super::DEPTH_MAX;

/// A refusal as HTTP has it: the status, and a sentence with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused(pub StatusCode, pub String);

impl Refused {
    pub fn bad(why: &str) -> Self {
        Self(StatusCode::BAD_REQUEST, why.to_owned())
    }
    fn unacceptable(why: &str) -> Self {
        Self(StatusCode::NOT_ACCEPTABLE, why.to_owned())
    }
}

/// How it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One block.
    Raw,
    /// A CAR.
    Car {
        /// Blocks are sent as often as they occur.
        dups: bool,
    },
}

/// Which blocks of the terminus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Its own.
    Block,
    /// Those of the file, or the directory's own.
    Entity,
    /// Those of a file that hold these bytes: first and last, from the end if negative, `None`: the end.
    Bytes(i64, Option<i64>),
    /// All below.
    All,
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Where it begins.
    pub cid: Cid,
    /// Names to walk from there.
    pub path: Vec<String>,
    /// How it is answered.
    pub format: Format,
    /// How much.
    pub scope: Scope,
    /// The format came from the URL.
    pub explicit: bool,
}

impl Ask {
    /// Reads a request.
    ///
    /// # Errors
    /// 400 for what is malformed, 406 for an answer that cannot be given.
    pub fn read(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refused> {
        let query = Query::read(uri.query().unwrap_or_default())?;
        let mut parts = uri.path().trim_start_matches("/ipfs/").split('/');
        let cid = parts.next().unwrap_or_default();
        let cid: Cid = cid.parse().map_err(|e: super::CarError| Refused::bad(&e.to_string()))?;
        let path = parts.filter(|p| !p.is_empty()).map(decode).collect::<Result<Vec<_>, _>>()?;
        if path.len() > PATH_MAX {
            return Err(Refused::bad("a path has at most 64 parts"));
        }
        let (format, explicit) = format(&query, headers)?;
        if format == Format::Raw && !path.is_empty() {
            return Err(Refused::bad("a block is asked for by its CID alone; ask for a CAR to walk a path"));
        }
        Ok(Self { cid: cid.canonical(), path, format, scope: scope(&query)?, explicit })
    }

    /// Media type of the answer.
    pub fn media(&self) -> String {
        match self.format {
            Format::Raw => RAW.to_owned(),
            Format::Car { dups } => {
                format!("{CAR}; version=1; order=dfs; dups={}", if dups { 'y' } else { 'n' })
            }
        }
    }

    /// Tag of the answer; `terminus`: what the path leads to.
    pub fn etag(&self, terminus: &Cid) -> String {
        match self.format {
            Format::Raw => format!("\"{terminus}.raw\""),
            Format::Car { dups } => {
                // What else the bytes follow from: the way to the terminus and what of it was asked for.
                let how = format!("{}/{}?{:?}&{dups}", self.cid, self.path.join("/"), self.scope);
                let how = blake3::hash(how.as_bytes()).to_hex();
                format!("W/\"{terminus}.car.{}\"", &how[..16])
            }
        }
    }
}

struct Query(Vec<(String, String)>);

impl Query {
    fn read(query: &str) -> Result<Self, Refused> {
        if query.len() > QUERY_MAX {
            return Err(Refused::bad("the query is too long"));
        }
        let pair = |part: &str| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            Ok((decode(name)?, decode(value)?))
        };
        Ok(Self(query.split('&').filter(|p| !p.is_empty()).map(pair).collect::<Result<_, _>>()?))
    }
    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Percent-decoding.
fn decode(text: &str) -> Result<String, Refused> {
    let bad = || Refused::bad("the URL has a % that is no encoding of UTF-8");
    let (mut out, mut bytes) = (Vec::with_capacity(text.len()), text.bytes());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digits = [bytes.next().ok_or_else(bad)?, bytes.next().ok_or_else(bad)?];
        out.extend(hex::decode(digits).map_err(|_| bad())?);
    }
    String::from_utf8(out).map_err(|_| bad())
}

fn format(query: &Query, headers: &HeaderMap) -> Result<(Format, bool), Refused> {
    if let Some(version) = query.get("car-version").filter(|v| *v != "1") {
        return Err(Refused::bad(&format!("CAR version {version} is not made here; ask for car-version=1")));
    }
    if query.get("car-order").is_some_and(|o| !matches!(o, "dfs" | "unk")) {
        return Err(Refused::bad("the order of blocks is dfs; ask for car-order=dfs"));
    }
    let dups = match query.get("car-dups") {
        None => None,
        Some("y") => Some(true),
        Some("n") => Some(false),
        Some(_) => return Err(Refused::bad("car-dups is y or n")),
    };
    match query.get("format") {
        Some("raw") => Ok((Format::Raw, true)),
        Some("car") => Ok((Format::Car { dups: dups.or(accepted(headers).1).unwrap_or(false) }, true)),
        Some(_) => Err(Refused::unacceptable("only format=raw and format=car are answered here")),
        None => {
            let missing =
                "the answer is a block or a CAR; add ?format=raw or ?format=car, or an Accept header";
            if !headers.contains_key(ACCEPT) {
                return Err(Refused::bad(missing));
            }
            match accepted(headers) {
                (Some(RAW), _) => Ok((Format::Raw, false)),
                (Some(_), wish) => Ok((Format::Car { dups: dups.or(wish).unwrap_or(false) }, false)),
                (None, _) => Err(Refused::unacceptable(missing)),
            }
        }
    }
}

/// The best media type that we have, and whether it wishes for duplicates.
fn accepted(headers: &HeaderMap) -> (Option<&'static str>, Option<bool>) {
    let texts = headers.get_all(ACCEPT).iter().filter_map(|v| v.to_str().ok());
    let mut best = (None, None, 0u32);
    for one in texts.flat_map(|t| t.split(',')) {
        let mut parts = one.split(';').map(str::trim);
        let media = match parts.next() {
            Some(media) if media.eq_ignore_ascii_case(RAW) => RAW,
            Some(media) if media.eq_ignore_ascii_case(CAR) => CAR,
            _ => continue,
        };
        let (mut weight, mut dups, mut fine) = (1000, None, true);
        for (name, value) in parts.filter_map(|p| p.split_once('=')) {
            match (name.trim(), value.trim().trim_matches('"')) {
                ("q", q) => weight = thousandths(q),
                ("dups", "y") => dups = Some(true),
                ("dups", "n") => dups = Some(false),
                ("version", v) => fine &= v == "1",
                ("order", o) => fine &= matches!(o, "dfs" | "unk"),
                _ => {}
            }
        }
        if fine && weight > best.2 {
            best = (Some(media), dups, weight);
        }
    }
    (best.0, best.1)
}

/// A quality of RFC 9110, 0 to 1 with at most three digits.
fn thousandths(q: &str) -> u32 {
    let (whole, rest) = q.split_once('.').unwrap_or((q, ""));
    let digits: String = rest.chars().chain("000".chars()).take(3).collect();
    let whole = whole.parse::<u32>().unwrap_or(0).min(1);
    (whole * 1000 + digits.parse::<u32>().unwrap_or(0)).min(1000)
}

fn scope(query: &Query) -> Result<Scope, Refused> {
    if let Some(bytes) = query.get("entity-bytes") {
        let bad = || Refused::bad("entity-bytes is FROM:TO, two numbers of bytes; TO may be *");
        let (from, to) = bytes.split_once(':').ok_or_else(bad)?;
        let to = if to == "*" { None } else { Some(to.parse().map_err(|_| bad())?) };
        return Ok(Scope::Bytes(from.parse().map_err(|_| bad())?, to));
    }
    match query.get("dag-scope") {
        None | Some("all") => Ok(Scope::All),
        Some("entity") => Ok(Scope::Entity),
        Some("block") => Ok(Scope::Block),
        Some(_) => Err(Refused::bad("dag-scope is block, entity or all")),
    }
}

/// The bytes of an entity of `size` bytes that are asked for. `None`: none, so that only its root is sent.
///
/// # Errors
/// They begin behind its end.
pub fn bytes_of(from: i64, to: Option<i64>, size: u64) -> Result<Option<Range<u64>>, Refused> {
    let at = |n: i64| match u64::try_from(n) {
        Ok(n) => Some(n),
        Err(_) => size.checked_sub(n.unsigned_abs()),
    };
    let start = at(from).unwrap_or(0);
    if start >= size && size > 0 {
        return Err(Refused::bad("entity-bytes begins behind the end of the file"));
    }
    let end = match to {
        None => Some(size),
        Some(to) => at(to).map(|last| last.saturating_add(1).min(size)),
    };
    Ok(end.filter(|end| start < *end).map(|end| start..end))
}
