"""Will this visit end in a purchase?

Data: UCI "Online Shoppers Purchasing Intention" (Sakar, Polat, Katircioglu and Kastro 2019), CC BY 4.0. It has no
times, only an order: rows are taken to be a second apart, and each tells its outcome 100 rows later.
"""

from datetime import UTC, datetime, timedelta

from river import compose, linear_model, optim, preprocessing, tree

from schemas import Category, Dictionary, Number
from streams import DataFile, Model, Select, Task

NUMBERS = (
    "Administrative",
    "Administrative_Duration",
    "Informational",
    "Informational_Duration",
    "ProductRelated",
    "ProductRelated_Duration",
    "BounceRates",
    "ExitRates",
    "PageValues",
    "SpecialDay",
)
CATEGORIES = ("Month", "OperatingSystems", "Browser", "Region", "TrafficType", "VisitorType", "Weekend")


def logistic_regression(learning_rate):
    scaled = Select(*NUMBERS) | preprocessing.StandardScaler()
    encoded = Select(*CATEGORIES) | preprocessing.OneHotEncoder()
    return compose.Pipeline(scaled + encoded, linear_model.LogisticRegression(optim.SGD(learning_rate)))


def hoeffding_tree(max_depth):
    return tree.HoeffdingTreeClassifier(nominal_attributes=list(CATEGORIES), max_depth=max_depth)


def revenue(row):
    return (int(row["#"]) + 100) * 1000, row["Revenue"] == "TRUE"


purchase = Task(
    name="purchase-intention",
    question="Will this visit end in a purchase?",
    features=Dictionary(*(Number(name=name) for name in NUMBERS), *(Category(name=n) for n in CATEGORIES)),
    earliest=datetime(1970, 1, 1, tzinfo=UTC),  # the rows have no times: they are a second apart, from 1970
    horizon=timedelta(hours=1),
    models=(
        Model("lr", logistic_regression, {"learning_rate": 0.01}),
        Model("ht", hoeffding_tree, {"max_depth": 100}),
    ),
    data=DataFile(
        path="online_shoppers_intention.csv.gz",
        request_id="#",
        ts=lambda row: int(row["#"]) * 1000,
        outcome=revenue,
    ),
)
