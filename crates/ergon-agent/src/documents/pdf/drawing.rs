//! What a page draws, followed before its text is taken: forms that draw forms, and how much all of that is.

use std::{
    collections::{BTreeMap, HashMap},
    ptr,
};

use pdf_extract::{Dictionary, Document as Pdf, Object, ObjectId, Stream, content::Content};

use super::{super::ReadLimits, over, unfold::unfold};

/// Forms drawn within one another.
const MAX_FORMS: usize = 32;
/// Operations of a page with all forms that it draws.
const MAX_OPERATIONS: u64 = 20_000_000;
/// Operands and operators of one piece of content; each takes a hundred bytes and more once it is parsed.
const MAX_TOKENS: usize = 4 << 20;
/// Operands of one operation.
const MAX_OPERANDS: usize = 64;
/// States kept at a time.
const MAX_STATES: usize = 4096;
/// Pages above a page.
const MAX_PARENTS: usize = 256;

/// Says why a page is refused.
pub(super) fn check(pdf: &Pdf, page: ObjectId, limits: &ReadLimits) -> Result<(), String> {
    let Ok(dictionary) = pdf.get_dictionary(page) else { return Ok(()) };
    let resources = resources(pdf, dictionary)?;
    let mut content = Vec::new();
    for id in pdf.get_page_contents(page) {
        let Ok(stream) = pdf.get_object(id).and_then(Object::as_stream) else { continue };
        let room = limits.pdf_page_bytes.saturating_sub(content.len());
        content.extend(unfold(stream, room).map_err(|_| over("a page", limits.pdf_page_bytes))?);
        content.push(b'\n');
    }
    let empty = Dictionary::new();
    let mut drawing =
        Drawing { pdf, limit: limits.pdf_page_bytes, open: Vec::new(), open_bytes: 0, costs: HashMap::new() };
    drawing.content(content, resources.unwrap_or(&empty)).map(|_| ())
}

/// The resources of a page, its own or those of a page above it.
fn resources<'p>(pdf: &'p Pdf, page: &'p Dictionary) -> Result<Option<&'p Dictionary>, String> {
    let mut found = None;
    let mut node = Some(page);
    for _ in 0..MAX_PARENTS {
        let Some(dictionary) = node else { return Ok(found) };
        found = found.or_else(|| dictionary.get_deref(b"Resources", pdf).and_then(Object::as_dict).ok());
        let parent = dictionary.get(b"Parent").and_then(Object::as_reference);
        node = parent.and_then(|id| pdf.get_dictionary(id)).ok();
    }
    Err(format!("over {MAX_PARENTS} levels lie above one of its pages, or they lead around in a circle"))
}

struct Drawing<'p> {
    pdf: &'p Pdf,
    limit: usize,
    /// The forms that are being followed, outermost first, and the bytes of their content.
    open: Vec<*const Stream>,
    open_bytes: usize,
    /// Operations of a form with all that it draws; what it draws hangs on its resources.
    costs: HashMap<(*const Stream, *const Dictionary), u64>,
}

impl<'p> Drawing<'p> {
    /// Operations that a piece of content causes.
    fn content(&mut self, content: Vec<u8>, resources: &'p Dictionary) -> Result<u64, String> {
        let bytes = content.len();
        if self.open_bytes + bytes > self.limit {
            return Err(over("a page with its forms", self.limit));
        }
        let (mut cost, forms) = drawn(&content)?;
        drop(content);
        self.open_bytes += bytes;
        let named = resources.get_deref(b"XObject", self.pdf).and_then(Object::as_dict);
        for (name, times) in forms {
            let Ok(named) = named else { continue };
            let Ok(stream) = named.get_deref(&name, self.pdf).and_then(Object::as_stream) else { continue };
            cost = cost.saturating_add(self.form(stream, resources)?.saturating_mul(times));
        }
        self.open_bytes -= bytes;
        if cost > MAX_OPERATIONS {
            return Err(format!("its forms draw one another over {MAX_OPERATIONS} times"));
        }
        Ok(cost)
    }

    fn form(&mut self, stream: &'p Stream, inherited: &'p Dictionary) -> Result<u64, String> {
        let place = ptr::from_ref(stream);
        if self.open.contains(&place) {
            return Err("one of its forms draws itself".to_string());
        }
        if self.open.len() >= MAX_FORMS {
            return Err(format!("its forms draw one another over {MAX_FORMS} deep"));
        }
        let own = stream.dict.get_deref(b"Resources", self.pdf).and_then(Object::as_dict);
        let resources = own.unwrap_or(inherited);
        let known = (place, ptr::from_ref(resources));
        if let Some(cost) = self.costs.get(&known) {
            return Ok(*cost);
        }
        let content = unfold(stream, self.limit).map_err(|_| over("a form", self.limit))?;
        self.open.push(place);
        let cost = self.content(content, resources)?;
        self.open.pop();
        self.costs.insert(known, cost);
        Ok(cost)
    }
}

/// Operations of a piece of content, and the names of what it draws with how often.
fn drawn(content: &[u8]) -> Result<(u64, BTreeMap<Vec<u8>, u64>), String> {
    if tokens(content) > MAX_TOKENS {
        return Err(format!("one of its pages has over {MAX_TOKENS} operands and operators"));
    }
    let mut forms = BTreeMap::new();
    // What cannot be parsed is not drawn either.
    let Ok(content) = Content::decode(content) else { return Ok((0, forms)) };
    let mut states = 0usize;
    for operation in &content.operations {
        match operation.operator.as_str() {
            "q" => states += 1,
            "Q" => states = states.saturating_sub(1),
            "Do" => {
                if let Some(name) = operation.operands.first().and_then(|name| name.as_name().ok()) {
                    *forms.entry(name.to_vec()).or_default() += 1;
                }
            }
            _ => {}
        }
        if states > MAX_STATES || operation.operands.len() > MAX_OPERANDS {
            return Err("the drawing of one of its pages is damaged".to_string());
        }
    }
    Ok((content.operations.len() as u64, forms))
}

/// At least as many operands and operators as the content can hold.
fn tokens(content: &[u8]) -> usize {
    let (mut tokens, mut was_inside) = (0, false);
    for byte in content {
        let is_inside = !b" \t\n\r\0\x0c()<>[]{}/%".contains(byte);
        // Words and numbers may follow one another without a space: `nullnull`, `1.1.1`.
        let begins = b"([</".contains(byte) || is_inside && (!was_inside || b".+-us".contains(byte));
        tokens += usize::from(begins);
        was_inside = is_inside;
    }
    tokens
}
