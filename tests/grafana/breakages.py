"""Ways to break the dashboard, by the check that must notice. Each changes the given dashboard in place."""

BREAKAGES = {}


def breaks(check):
    def register(breakage):
        BREAKAGES.setdefault(check, []).append(breakage)
        return breakage

    return register


def panel(dash, kind="timeseries"):
    return next(each for each in dash["panels"] if each["type"] == kind)


def titled(dash, start):
    return next(each for each in dash["panels"] if each["title"].startswith(start))


def edit(dash, old, new):
    """Replaces text in the first query that has it."""
    for each in dash["panels"]:
        for target in each.get("targets", []):
            if old in target["expr"]:
                target["expr"] = target["expr"].replace(old, new, 1)
                return
    raise LookupError(old)


def variable(dash, name):
    return next(each for each in dash["templating"]["list"] if each["name"] == name)


@breaks("it_opens_as_it_is")
def _(dash):
    """an editable dashboard"""
    dash["editable"] = True


@breaks("it_opens_as_it_is")
def _(dash):
    """an export's inputs"""
    dash["__inputs"] = []


@breaks("it_opens_as_it_is")
def _(dash):
    """another uid"""
    dash["uid"] = "x"


@breaks("it_opens_as_it_is")
def _(dash):
    """a schema of a later Grafana"""
    dash["schemaVersion"] = 99


@breaks("the_data_source_is_a_variable")
def _(dash):
    """another label"""
    variable(dash, "datasource")["label"] = "Datasource"


@breaks("no_data_source_is_hard_coded")
def _(dash):
    """a panel's fixed data source"""
    panel(dash)["datasource"] = {"type": "prometheus", "uid": "P1809F7CD0C75ACF3"}


@breaks("no_data_source_is_hard_coded")
def _(dash):
    """a query without one"""
    del panel(dash)["targets"][0]["datasource"]


@breaks("no_data_source_is_hard_coded")
def _(dash):
    """an annotation's fixed data source"""
    dash["annotations"]["list"][0]["datasource"] = {"type": "prometheus", "uid": "prom"}


@breaks("variables_ask_for_labels")
def _(dash):
    """a variable that is read at load only"""
    variable(dash, "job")["refresh"] = 1


@breaks("variables_ask_for_labels")
def _(dash):
    """another value for all"""
    variable(dash, "instance")["allValue"] = ".*"


@breaks("variables_ask_for_labels")
def _(dash):
    """a missing variable"""
    dash["templating"]["list"].pop()


@breaks("variables_ask_for_labels")
def _(dash):
    """a metric without that label"""
    each = variable(dash, "tenant")
    each["definition"] = each["query"]["query"] = "label_values(solvegate_solves_total, tenant)"


@breaks("panels_say_what_they_show")
def _(dash):
    """a panel without description"""
    panel(dash)["description"] = ""


@breaks("panels_say_what_they_show")
def _(dash):
    """a panel that is silent without data"""
    del panel(dash)["fieldConfig"]["defaults"]["noValue"]


@breaks("ids_and_titles_are_unique")
def _(dash):
    """an id twice"""
    dash["panels"][1]["id"] = dash["panels"][2]["id"]


@breaks("ids_and_titles_are_unique")
def _(dash):
    """a title twice"""
    dash["panels"][1]["title"] = dash["panels"][2]["title"]


@breaks("units_are_known")
def _(dash):
    """a misspelt unit"""
    panel(dash)["fieldConfig"]["defaults"]["unit"] = "percentUnit"


@breaks("units_are_known")
def _(dash):
    """a column's misspelt unit"""
    overrides = panel(dash, "table")["fieldConfig"]["overrides"]
    next(each for override in overrides for each in override["properties"] if each["id"] == "unit")["value"] = "usd"


@breaks("panels_have_queries")
def _(dash):
    """a panel without queries"""
    panel(dash)["targets"] = []


@breaks("panels_have_queries")
def _(dash):
    """a refId twice"""
    targets = next(each["targets"] for each in dash["panels"] if len(each.get("targets", [])) > 1)
    targets[1]["refId"] = targets[0]["refId"]


@breaks("queries_are_promql")
def _(dash):
    """an open bracket"""
    panel(dash)["targets"][0]["expr"] += ")"


@breaks("queries_are_promql")
def _(dash):
    """a rate without a range"""
    edit(dash, "[$__rate_interval]", "")


@breaks("rates_follow_the_zoom")
def _(dash):
    """a fixed range"""
    edit(dash, "[$__rate_interval]", "[5m]")


@breaks("rates_follow_the_zoom")
def _(dash):
    """a rate over the whole time range"""
    edit(dash, "[$__rate_interval]", "[$__range]")


@breaks("counters_are_never_bare")
def _(dash):
    """a bare counter"""
    panel(dash)["targets"][0]["expr"] = "sum(solvegate_solves_total)"


@breaks("counters_are_never_bare")
def _(dash):
    """a counter in a function for gauges"""
    edit(dash, "rate(solvegate_rejections_total", "delta(solvegate_rejections_total")


@breaks("queries_are_filtered_by_job_and_instance")
def _(dash):
    """a query of every job"""
    edit(dash, 'job=~"$job"', 'job=~".+"')


@breaks("queries_are_filtered_by_job_and_instance")
def _(dash):
    """a query of every instance"""
    edit(dash, ', instance=~"$instance"', "")


@breaks("queries_are_filtered_by_job_and_instance")
def _(dash):
    """a recorded series asked for an instance"""
    edit(dash, "captcha_type:solvegate_slo_burn_rate:ratio_rate1h{", 'captcha_type:solvegate_slo_burn_rate:ratio_rate1h{instance=~"$instance", ')


@breaks("metrics_exist")
def _(dash):
    """a renamed metric"""
    edit(dash, "solvegate_solves_total", "solvegate_solved_total")


@breaks("metrics_exist")
def _(dash):
    """a rule that is not recorded"""
    edit(dash, "burn_rate:ratio_rate1h", "burn_rate:ratio_rate4h")


@breaks("matchers_name_labels_of_the_metric")
def _(dash):
    """a renamed label"""
    edit(dash, 'outcome!="solved"', 'result!="solved"')


@breaks("no_bucket_is_matched")
def _(dash):
    """a bucket"""
    edit(dash, "solvegate_solve_duration_seconds_bucket{", 'solvegate_solve_duration_seconds_bucket{le="30", ')


@breaks("foreign_metrics_are_joined_with_ours")
def _(dash):
    """the memory of every process"""
    panel(dash)["targets"][0]["expr"] = 'process_resident_memory_bytes{job=~"$job", instance=~"$instance"}'


@breaks("the_grid_has_no_holes")
def _(dash):
    """a panel too narrow"""
    panel(dash)["gridPos"]["w"] -= 1


@breaks("the_grid_has_no_holes")
def _(dash):
    """a panel over another"""
    panel(dash)["gridPos"]["w"] += 1


@breaks("the_grid_has_no_holes")
def _(dash):
    """a panel over the edge"""
    dash["panels"][-1]["gridPos"]["x"] += 1


@breaks("the_grid_has_no_holes")
def _(dash):
    """a collapsed row"""
    panel(dash, "row")["collapsed"] = True


@breaks("the_grid_has_no_holes")
def _(dash):
    """panels in another order than they are seen"""
    dash["panels"].append(dash["panels"].pop(1))


@breaks("rows_stand_in_their_order")
def _(dash):
    """rows exchanged"""
    rows = [each for each in dash["panels"] if each["type"] == "row"]
    rows[0]["title"], rows[1]["title"] = rows[1]["title"], rows[0]["title"]


@breaks("burn_thresholds_are_dashed")
def _(dash):
    """a threshold drawn as a line"""
    for override in titled(dash, "Burn rate, 6 h")["fieldConfig"]["overrides"]:
        override["properties"] = [each for each in override["properties"] if each["id"] != "custom.lineStyle"]


@breaks("burn_thresholds_are_dashed")
def _(dash):
    """the threshold of another tier"""
    edit(dash, 'min(captcha_type:solvegate_slo_burn_rate_threshold:min{job=~"$job", captcha_type=~"$captcha_type", tier="slow"}', 'min(captcha_type:solvegate_slo_burn_rate_threshold:min{job=~"$job", captcha_type=~"$captcha_type", tier="fast"}')
    edit(dash, 'tier="slow"', 'tier="fast"')


@breaks("statuses_have_their_colours")
def _(dash):
    """a red warning"""
    options = panel(dash, "state-timeline")["fieldConfig"]["defaults"]["mappings"][0]["options"]
    next(each for each in options.values() if each["text"] == "warning")["color"] = "red"


@breaks("overrides_match_something")
def _(dash):
    """an override for a query that is gone"""
    titled(dash, "Burn rate, 1 h")["targets"].pop()


@breaks("overrides_match_something")
def _(dash):
    """an override for a column of another name"""
    titled(dash, "SLOs")
    table = panel(dash, "table")
    names = table["transformations"][-1]["options"]["renameByName"]
    names.update({old: "State" for old, new in names.items() if new == "Status"})


@breaks("links_lead_to_runbooks")
def _(dash):
    """a runbook that does not exist"""
    next(each for each in dash["panels"] if each.get("links"))["links"][0]["url"] += "x"


@breaks("links_lead_to_runbooks")
def _(dash):
    """no link to the runbooks"""
    dash["links"] = []
