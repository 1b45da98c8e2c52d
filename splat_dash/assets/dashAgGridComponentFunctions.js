// Numbers and cells of the list of features.
// A number as `cells.in_digits` writes it. form: "%" for a share.
(window.dashAgGridFunctions = window.dashAgGridFunctions || {}).inDigits = (value, form) => {
  if (value == null) return "—";
  const number = form === "%" ? 100 * value : value, size = Math.abs(number);
  const text = size >= 999.5 ? d3.format(",.0f")(number) : size >= 1e-4 || !size ? String(+number.toPrecision(3))
    : number.toExponential(2).replace(/e-(\d)$/, "e-0$1");
  return form === "%" ? text + " %" : text;
};
const cells = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});

cells.FeatureLink = (props) => {
  if (props.value == null) return null;
  const here = new URLSearchParams(location.search);
  const sort = props.api.getColumnState().find((column) => column.sort);
  const list = new URLSearchParams();
  for (const name of ["q", "state"]) if (here.get(name)) list.set(name, here.get(name));
  const by = sort ? (sort.sort === "desc" ? "-" : "") + sort.colId : here.get("sort");
  if (by && by !== "feature_id") list.set("sort", by);
  const text = list.toString();
  const href = "/f/" + props.value + (text ? "?" + new URLSearchParams({ list: text }) : "");
  return React.createElement(window.dash_core_components.Link, { href }, String(props.value));
};
