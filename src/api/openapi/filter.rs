//! The filters of a list in the document: which operator takes which value.

use serde_json::json;
use utoipa::openapi::schema::SchemaType;
use utoipa::openapi::{
    ArrayBuilder, KnownFormat, ObjectBuilder, OneOfBuilder, Ref, RefOr, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::person::filter::MAX_CONDITIONS;

/// A date, a moment, or a time span before now, such as `-7d`.
const DATE: &str =
    "^(-[0-9]{1,4}[hdwmy]|[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?)$";

/// A semantic version. `WILDCARD` is one whose last part is `*`, for `semver_wildcard`.
const VERSION: &str = "^v?(0|[1-9][0-9]{0,8})([.](0|[1-9][0-9]{0,8})){0,2}$";
const WILDCARD: &str = "^v?(0|[1-9][0-9]{0,8})([.](0|[1-9][0-9]{0,8}))?[.][*]$";

/// Conditions that all have to hold, or a group.
pub struct Filter;

/// Conditions and groups, of which all (`AND`) or one (`OR`) has to hold.
pub struct Group;

/// A condition, or a group of them.
pub struct Part;

/// A condition on one property.
pub struct Condition;

impl ToSchema for Filter {}
impl ToSchema for Group {}
impl ToSchema for Part {}
impl ToSchema for Condition {}

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let words = "Conditions that all have to hold, or a group. At most 100 conditions and 10 \
                     levels of groups.";
        OneOfBuilder::new().item(parts()).item(named("Group")).description(Some(words)).into()
    }
}

impl PartialSchema for Group {
    fn schema() -> RefOr<Schema> {
        let words = "Conditions and groups, of which all (`AND`) or one (`OR`) has to hold.";
        let kind = text().enum_values(Some(["AND", "OR"]));
        let group = ObjectBuilder::new().property("type", kind).property("values", parts());
        group.required("type").required("values").description(Some(words)).into()
    }
}

impl PartialSchema for Part {
    fn schema() -> RefOr<Schema> {
        OneOfBuilder::new().item(named("Condition")).item(named("Group")).into()
    }
}

impl PartialSchema for Condition {
    fn schema() -> RefOr<Schema> {
        let words = "A condition on one property; `exact` unless it says otherwise.";
        let conditions = conditions().into_iter();
        let conditions =
            conditions.map(|(words, operators, value)| condition(words, operators, value));
        conditions.fold(OneOfBuilder::new(), OneOfBuilder::item).description(Some(words)).into()
    }
}

/// Returns the kinds of conditions: their description, their operators, and the schema of their value.
fn conditions() -> [(&'static str, &'static [&'static str], RefOr<Schema>); 10] {
    let number = || ObjectBuilder::new().schema_type(Type::Number);
    let pair = ArrayBuilder::new().items(number()).min_items(Some(2)).max_items(Some(2));
    let regex = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Regex)));
    let versions = &[
        "semver_eq",
        "semver_neq",
        "semver_gt",
        "semver_gte",
        "semver_lt",
        "semver_lte",
        "semver_tilde",
        "semver_caret",
    ];
    [
        ("Is the value, or one of an array; is not.", &["exact", "is_not"], any().into()),
        ("Is one of an array; is not.", &["in", "not_in"], array().into()),
        (
            "Has a text somewhere, upper and lower case alike; has not.",
            &["icontains", "not_icontains"],
            scalar().into(),
        ),
        (
            "Has a match of a pattern in RE2's syntax; has none.",
            &["regex", "not_regex"],
            regex.into(),
        ),
        (
            "Is greater or less: as numbers where both are, else as text.",
            &["gt", "gte", "lt", "lte", "min", "max"],
            scalar().into(),
        ),
        (
            "Is a number from the first to the second; is not.",
            &["between", "not_between"],
            pair.into(),
        ),
        ("Is there and not null; is not.", &["is_set", "is_not_set"], any().into()),
        (
            "Is on that day or at that moment, before, after; `-7d` is seven days ago.",
            &["is_date_exact", "is_date_before", "is_date_after"],
            text().pattern(Some(DATE)).into(),
        ),
        ("Is such a semantic version.", versions, text().pattern(Some(VERSION)).into()),
        (
            "Is a version of which some parts are given.",
            &["semver_wildcard"],
            text().pattern(Some(WILDCARD)).into(),
        ),
    ]
}

fn condition(words: &str, operators: &[&str], value: RefOr<Schema>) -> ObjectBuilder {
    let (is_default, takes_value) = (operators[0] == "exact", operators[0] != "is_set");
    let operator = text().enum_values(Some(operators.iter().copied()));
    let operator = operator.default(is_default.then(|| json!("exact")));
    let kind = text().enum_values(Some(["person"])).default(Some(json!("person")));
    let mut condition = ObjectBuilder::new()
        .description(Some(words))
        .property("key", text().description(Some("The property.")))
        .property("operator", operator)
        .property("value", value)
        .property("type", kind)
        .required("key");
    if !is_default {
        condition = condition.required("operator");
    }
    if takes_value {
        condition = condition.required("value");
    }
    condition
}

fn named(name: &str) -> RefOr<Schema> {
    Ref::from_schema_name(name).into()
}

fn parts() -> ArrayBuilder {
    ArrayBuilder::new().items(named("Part")).max_items(Some(MAX_CONDITIONS))
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn scalar() -> ObjectBuilder {
    let types = [Type::String, Type::Number, Type::Boolean];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types))
}

fn any() -> ObjectBuilder {
    let types = [Type::String, Type::Number, Type::Boolean, Type::Array, Type::Object];
    ObjectBuilder::new().schema_type(SchemaType::from_iter(types))
}

fn array() -> ArrayBuilder {
    ArrayBuilder::new().items(ObjectBuilder::new().schema_type(SchemaType::AnyValue))
}
