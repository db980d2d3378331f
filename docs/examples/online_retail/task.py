"""Will any line of this order be cancelled within 30 days?

Data: UCI "Online Retail" (Daqing Chen), CC BY 4.0: the sales of a British gift wholesaler. 7,410 orders from
December 2010 to May 2011, each with the time at which its first line was cancelled, if ever.
"""

from datetime import timedelta

from river import compose, linear_model, optim, preprocessing

from schemas import Category, Dictionary, Integer, Number
from streams import DataFile, DefaultAtHorizon, Model, Select, Task, millis

AMOUNTS = ("n_lines", "n_units", "value", "distinct_items")


def logistic_regression(learning_rate):
    amounts = Select(*AMOUNTS) | preprocessing.StandardScaler()
    country = Select("country") | preprocessing.OneHotEncoder()
    return compose.Pipeline(amounts + country, linear_model.LogisticRegression(optim.SGD(learning_rate)))


def first_cancellation(row):
    return (millis(row["first_cancel_time"]), True) if row["first_cancel_time"] else None


order_cancellation = Task(
    name="order-cancellation",
    question="Will any line of this order be cancelled within 30 days?",
    features=Dictionary(
        Integer(name="n_lines", unit="lines", low=1),
        Integer(name="n_units", unit="pieces", low=1),
        Number(name="value", unit="pounds sterling", low=0),
        Integer(name="distinct_items", unit="items", low=1),
        Category(name="country"),
    ),
    horizon=timedelta(days=30),
    revision_horizon=timedelta(days=365),
    models=(Model("lr", logistic_regression, {"learning_rate": 0.01}, DefaultAtHorizon(False)),),
    data=DataFile(
        path="online_retail_orders_early.csv.gz",
        request_id="invoice_no",
        ts="order_time",
        timezone="UTC",
        outcome=first_cancellation,
    ),
)
